//! The simulator without sockets: a service takes a request and returns its response in the same process, so that a
//! runtime with virtual time is idle exactly when nothing is left to do. Every request has a connection of its own.

use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response};
use axum::response::IntoResponse as _;
use futures::{StreamExt as _, stream};
use kube::Client;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

use crate::connection::ConnectionHandle;
use crate::gateway::INTERNAL_CLIENT;

/// A server in the same process. Its error is that of a connection that broke.
pub type InProcessServer = BoxCloneSyncService<Request<Body>, Response<Body>, io::Error>;

/// Serves a router until `stop`, after which every connection is broken.
pub(crate) fn serve(router: Router, stop: &CancellationToken) -> InProcessServer {
    let stop = stop.clone();
    BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
        let (router, token) = (router.clone(), stop.child_token());
        answer(router, request, ConnectionHandle::new(token))
    }))
}

async fn answer(
    router: Router,
    mut request: Request<Body>,
    connection: ConnectionHandle,
) -> io::Result<Response<Body>> {
    request.extensions_mut().insert(ConnectInfo(connection.clone()));
    let response = tokio::select! {
        biased;
        () = connection.aborted() => return Err(broken()),
        response = router.oneshot(request) => response.into_response(),
    };
    if connection.is_aborted() {
        return Err(broken());
    }
    Ok(response.map(|body| until_aborted(body, connection)))
}

/// Ends a body with an error when its connection breaks.
fn until_aborted(body: Body, connection: ConnectionHandle) -> Body {
    let aborted = Box::pin(async move { connection.aborted().await });
    let chunks = body.into_data_stream().map(|chunk| chunk.map_err(io::Error::other));
    let bounded = stream::unfold(Some((chunks, aborted)), |state| async {
        let (mut chunks, mut aborted) = state?;
        tokio::select! {
            biased;
            () = &mut aborted => Some((Err(broken()), None)),
            chunk = chunks.next() => chunk.map(|chunk| (chunk, Some((chunks, aborted)))),
        }
    });
    Body::from_stream(bounded)
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// Returns the client that plays the simulated instances and the cloud's controllers.
pub(crate) fn internal_client(server: &InProcessServer) -> Client {
    let service = server.clone().map_request(|request: Request<kube::client::Body>| {
        let mut request = request.map(Body::new);
        request.headers_mut().insert(INTERNAL_CLIENT, HeaderValue::from_static("1"));
        request
    });
    Client::new(service, "default")
}
