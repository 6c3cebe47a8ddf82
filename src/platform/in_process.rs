//! The way to a server in the same process, for both clients: no socket, so that a runtime with virtual time is idle
//! exactly when nothing is left to do.

use std::io;

use aws_sdk_eks::config::{RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use axum::body::Body;
use http::{Request, Response};
use kube::client::ClientBuilder;
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Service as _, ServiceExt as _};

use super::bounded::BoundedResponses;
use super::calls::{Hook, ObservedCalls};

/// A server in the same process. Its error is that of a connection that broke.
pub type InProcessServer = BoxCloneSyncService<Request<Body>, Response<Body>, io::Error>;

/// Returns a Kubernetes client of the server.
pub(super) fn kubernetes_client(server: &InProcessServer, hook: &Hook) -> kube::Client {
    let service =
        server.clone().map_request(|request: Request<kube::client::Body>| request.map(Body::new));
    let client = ClientBuilder::new(service, "default").with_layer(&layer_fn(BoundedResponses));
    client.with_layer(&layer_fn(|service| ObservedCalls::new(service, hook))).build()
}

/// Returns an HTTP client of the SDKs that reaches the server, whatever the address.
pub(super) fn aws_client(server: &InProcessServer) -> SharedHttpClient {
    SharedHttpClient::new(Connector(server.clone()))
}

#[derive(Debug, Clone)]
struct Connector(InProcessServer);

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut server = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request
                .try_into_http1x()
                .map_err(|error| ConnectorError::user(Box::new(error)))?
                .map(Body::new);
            let sent = async { server.ready().await?.call(request).await };
            let response = sent.await.map_err(|error| ConnectorError::io(Box::new(error)))?;
            let (parts, body) = response.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await;
            let body = body.map_err(|error| ConnectorError::io(Box::new(error)))?;
            HttpResponse::try_from(Response::from_parts(parts, SdkBody::from(body)))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}
