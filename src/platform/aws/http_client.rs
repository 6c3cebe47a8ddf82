//! The HTTP client of the SDKs. The SDK's own reads the certificates of the system when it is made, which is a few
//! hundred files; this one does when it first calls a server over TLS. rustls on ring is named outright: no
//! process-wide provider is needed, and none is installed.

use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

/// Returns a client. Its connections are shared by those who share the client.
pub(super) fn http_client() -> SharedHttpClient {
    let tls = Provider::Rustls(CryptoMode::Ring);
    SharedHttpClient::new(LazyTls {
        plain: aws_smithy_http_client::Builder::new().build_http(),
        secure: aws_smithy_http_client::Builder::new().tls_provider(tls).build_https(),
    })
}

/// Both of these keep a connector for each of their settings.
#[derive(Debug, Clone)]
struct LazyTls {
    plain: SharedHttpClient,
    secure: SharedHttpClient,
}

impl HttpClient for LazyTls {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(LazyConnector {
            clients: self.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }
}

#[derive(Debug)]
struct LazyConnector {
    clients: LazyTls,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for LazyConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let LazyTls { plain, secure } = &self.clients;
        let client = if request.uri().starts_with("http:") { plain } else { secure };
        client.http_connector(&self.settings, &self.components).call(request)
    }
}
