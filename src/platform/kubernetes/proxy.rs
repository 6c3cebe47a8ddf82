//! Whether the environment's proxy is meant for an API server. kube takes `HTTPS_PROXY` for every address, plain http
//! and loopback included, and looks up the proxy's own name in `NO_PROXY`; kubectl does neither.

use kube::config::Config;

/// Drops a proxy that the environment names, but not for this server. One that the kubeconfig names stays.
pub(super) fn drop_unless_needed(config: &mut Config) {
    let Some(proxy) = &config.proxy_url else {
        return;
    };
    let is_from_environment = ["HTTPS_PROXY", "https_proxy"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .any(|value| *proxy == value.as_str());
    if is_from_environment && !is_needed(config, &no_proxy()) {
        config.proxy_url = None;
    }
}

fn no_proxy() -> String {
    let value = std::env::var("NO_PROXY").or_else(|_| std::env::var("no_proxy"));
    value.unwrap_or_default()
}

fn is_needed(config: &Config, no_proxy: &str) -> bool {
    let host = config.cluster_url.host().unwrap_or_default();
    config.cluster_url.scheme_str() == Some("https")
        && !is_loopback(host)
        && !is_exempt(host, no_proxy)
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_matches(['[', ']']);
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// `NO_PROXY` as Go reads it, address ranges excepted: names and their subdomains, `.suffixes`, `*`, each perhaps with
/// a port.
fn is_exempt(host: &str, no_proxy: &str) -> bool {
    no_proxy
        .split(',')
        .map(|entry| entry.trim().split(':').next().unwrap_or_default())
        .filter(|entry| !entry.is_empty())
        .any(|entry| {
            let suffix = entry.trim_start_matches("*.").trim_start_matches('.');
            entry == "*" || host == suffix || host.ends_with(&format!(".{suffix}"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_for_https_elsewhere() {
        let is_needed =
            |url: &str, no_proxy| is_needed(&Config::new(url.parse().unwrap()), no_proxy);
        assert!(is_needed("https://abc.eks.amazonaws.com", "example.org, 10.0.0.1"));
        assert!(!is_needed("http://abc.eks.amazonaws.com", ""));
        assert!(!is_needed("https://127.0.0.1:6443", ""));
        assert!(!is_needed("https://[::1]:6443", ""));
        assert!(!is_needed("https://localhost:6443", ""));
        assert!(!is_needed("https://abc.eks.amazonaws.com", ".amazonaws.com"));
        assert!(!is_needed("https://abc.eks.amazonaws.com", "x,*.eks.amazonaws.com:443"));
        assert!(!is_needed("https://abc.eks.amazonaws.com", "*"));
        assert!(is_needed("https://abc.eks.amazonaws.com", "ws.com"), "no part of a name");
    }
}
