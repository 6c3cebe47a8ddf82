//! A load balancer before the API server: it passes connections on only while the server is ready, as the load balancer
//! of a cloud cluster does. It can also cut connections, or drop their packets silently, as a firewall does.

use std::{io, net::Ipv4Addr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// A port on loopback behind which the API server is.
pub(crate) struct LoadBalancer {
    pub(crate) port: u16,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

/// What is lost on all connections. One that has lost something does not recover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Nothing,
    /// What the server sends.
    Responses,
    /// What either side sends.
    Everything,
}

#[derive(Clone, Copy)]
struct State {
    open: bool,
    loss: Loss,
    /// Connections of an earlier age are cut.
    generation: u64,
    /// Connections from before so many silences stay, and nothing passes through them any more.
    blackholes: u64,
}

impl LoadBalancer {
    pub(crate) async fn start(server: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(watch::Sender::new(State {
            open: true,
            loss: Loss::Nothing,
            generation: 0,
            blackholes: 0,
        }));
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

    /// Drops all data in both directions, of new connections too.
    pub(crate) fn isolate(&self) {
        self.state.send_modify(|state| state.loss = Loss::Everything);
    }

    /// Drops all that the server sends: requests arrive, and are not answered.
    pub(crate) fn drop_responses(&self) {
        self.state.send_modify(|state| state.loss = Loss::Responses);
    }

    /// Passes everything on again. Connections that have lost something stay silent.
    pub(crate) fn open(&self) {
        self.state.send_modify(|state| {
            state.open = true;
            state.loss = Loss::Nothing;
        });
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
async fn forward(client: TcpStream, server: u16, mut state: watch::Receiver<State>) {
    let State { generation, blackholes, .. } = *state.borrow_and_update();
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut blackhole = state.clone();
    let passing = async {
        let requests = copy(&mut from_client, &mut to_server, &state, &[Loss::Everything]);
        let lost = [Loss::Everything, Loss::Responses];
        let responses = copy(&mut from_server, &mut to_client, &state, &lost);
        tokio::select! {
            // However it ends, both sides see the end.
            _ = async { tokio::try_join!(requests, responses) } => return,
            _ = blackhole.wait_for(|state| state.blackholes != blackholes) => {}
        }
        std::future::pending::<()>().await;
    };
    let mut cut = state.clone();
    tokio::select! {
        () = passing => {}
        _ = cut.wait_for(|state| state.generation != generation) => {}
    }
}

/// Copies what one side sends to the other, until something of it is lost: then nothing more arrives.
async fn copy(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    state: &watch::Receiver<State>,
    losses: &[Loss],
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await?;
        if losses.contains(&state.borrow().loss) {
            std::future::pending::<()>().await;
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
