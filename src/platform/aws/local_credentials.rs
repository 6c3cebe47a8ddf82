//! Placeholder credentials for an endpoint on this machine when none are configured. Such an endpoint is an emulator of
//! AWS (the simulator, moto, LocalStack), which accepts requests signed by any key. Placeholders are used for loopback
//! endpoints only.

use std::sync::Once;

use aws_config::SdkConfig;
use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::meta::credentials::CredentialsProviderChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_credential_types::Credentials;
use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::SharedCredentialsProvider;
use url::{Host, Url};

const NAME: &str = "stand-in";

/// The configuration, with credentials of last resort where its endpoint is on this machine. An instance's role is not
/// looked for then: it would be of no use there, and where there is none it costs seconds to find out.
pub(super) fn with_local_credentials(config: SdkConfig, sources: &ProviderConfig) -> SdkConfig {
    let Some(endpoint) = config.endpoint_url().filter(|url| is_on_loopback(url)) else {
        return config;
    };
    let endpoint = endpoint.to_owned();
    // Each client resolves its credentials itself.
    let warned = Once::new();
    let placeholder = provide_credentials_fn(move || {
        warned.call_once(|| {
            tracing::warn!(
                endpoint,
                "no AWS credentials found; using placeholders for the endpoint on this machine"
            );
        });
        async { Ok(Credentials::new(NAME, NAME, None, None, NAME)) }
    });
    let profile = ProfileFileCredentialsProvider::builder().configure(sources).build();
    let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(sources).build();
    let container = EcsCredentialsProvider::builder().configure(sources).build();
    let environment = EnvironmentVariableCredentialsProvider::new();
    let chain = CredentialsProviderChain::first_try("environment", environment)
        .or_else("profile", profile)
        .or_else("web identity", web_identity)
        .or_else("container", container)
        .or_else(NAME, placeholder);
    config.to_builder().credentials_provider(SharedCredentialsProvider::new(chain)).build()
}

fn is_on_loopback(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_endpoints_are_local() {
        for url in ["http://127.0.0.1:5000", "http://localhost:4566/", "http://[::1]:5000"] {
            assert!(is_on_loopback(url), "{url}");
        }
        for url in [
            "http://10.0.0.1:5000",
            "https://localhost.example.com",
            "https://eks.us-west-2.amazonaws.com",
            "http://127.0.0.1.example.com",
            "127.0.0.1:5000",
            "",
        ] {
            assert!(!is_on_loopback(url), "{url}");
        }
    }
}
