//! A load balancer before the API server: it passes connections on only while the server is ready, as the load balancer
//! of a cloud cluster does. It can also cut connections, or drop their packets silently, as a firewall does.

use std::{io, net::Ipv4Addr, sync::Arc};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// A port on loopback behind which the API server is.
pub(crate) struct LoadBalancer {
    pub(crate) port: u16,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy)]
struct State {
    open: bool,
    /// Connections of an earlier age are cut.
    generation: u64,
    /// Connections from before so many silences stay, and nothing passes through them any more.
    blackholes: u64,
}

impl LoadBalancer {
    pub(crate) async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state =
            Arc::new(watch::Sender::new(State { open: true, generation: 0, blackholes: 0 }));
        let task = tokio::spawn(accept(listener, server, Arc::clone(&state)));
        Ok(Self { port, state, task })
    }

    /// Cuts every connection; new ones are passed on.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Drops all further data on the existing connections without closing them. New connections are passed on.
    pub(crate) fn blackhole(&self) {
        self.state.send_modify(|state| state.blackholes += 1);
    }

    /// Cuts every connection, and passes no other on.
    pub(crate) fn close(&self) {
        self.state.send_modify(|state| {
            state.open = false;
            state.generation += 1;
        });
    }

    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }
}

impl Drop for LoadBalancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, server: u16, state: Arc<watch::Sender<State>>) {
    while let Ok((client, _)) = listener.accept().await {
        if state.borrow().open {
            tokio::spawn(forward(client, server, state.subscribe()));
        }
    }
}

/// Passes one connection on until one side ends it or it is cut.
async fn forward(mut client: TcpStream, server: u16, mut state: watch::Receiver<State>) {
    let State { generation, blackholes, .. } = *state.borrow_and_update();
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let mut blackhole = state.clone();
    let passing = async {
        tokio::select! {
            // However it ends, both sides see the end.
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
            _ = blackhole.wait_for(|state| state.blackholes != blackholes) => {}
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = passing => {}
        _ = state.wait_for(|state| state.generation != generation) => {}
    }
}
