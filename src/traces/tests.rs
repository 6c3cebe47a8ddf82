//! The variables of the environment, and ids. `tests/traces.rs` reads what is sent.

use std::collections::BTreeMap;

use super::{
    hash,
    settings::{Settings, SettingsError},
};

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Settings::read(&|name| variables.get(name).map(|value| (*value).to_owned()))
}

const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

#[test]
fn traces_are_sent_where_the_environment_says() {
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[(ALL, "http://a:4318"), ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
    let url = |variables| read(variables).unwrap().unwrap().url;
    assert_eq!(url(&[(ALL, "http://a:4318/")]), "http://a:4318/v1/traces");
    assert_eq!(url(&[(ALL, "https://a/otlp")]), "https://a/otlp/v1/traces");
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b/x");
    assert_eq!(url(&[(ALL, "http://a"), traces]), "http://b/x");
}

#[test]
fn headers_and_attributes_are_lists() {
    let settings = read(&[
        (ALL, "http://a"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20a%2Bb+c==, x = y, share=5%2525"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=z"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test,service.name=other"),
        ("OTEL_SERVICE_NAME", "mine"),
    ]);
    let Settings { headers, resource, .. } = settings.unwrap().unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(headers.len(), 3);
    for (name, value) in [("authorization", "Basic a+b+c=="), ("x", "z"), ("share", "5%25")] {
        assert_eq!(headers[name], value);
        assert!(headers[name].is_sensitive());
    }
    assert!(resource.contains(&pair("service.name", "mine")), "{resource:?}");
    assert!(resource.contains(&pair("deployment.environment", "test")), "{resource:?}");
}

#[test]
fn what_cannot_be_used_is_an_error_that_shows_no_secret() {
    for (name, value, part) in [
        (ALL, "a:4318", "OTEL_EXPORTER_OTLP_ENDPOINT is not a valid URL"),
        (ALL, "ftp://a", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf only"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret", "OTEL_EXPORTER_OTLP_HEADERS is not a list"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0Ab", "OTEL_EXPORTER_OTLP_HEADERS is not a list"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret", "OTEL_EXPORTER_OTLP_HEADERS is not a list"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "ä=s3cret", "OTLP_TRACES_HEADERS is not a list"),
    ] {
        let error = match name {
            ALL => read(&[(name, value)]),
            name => read(&[(ALL, "http://a"), (name, value)]),
        };
        let message = error.unwrap_err().to_string();
        assert!(message.contains(part) && !message.contains("s3cret"), "{message}");
    }
    let same = [(ALL, "http://a"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")];
    assert!(read(&same).is_ok());
}

#[test]
fn ids_are_the_same_in_each_process_and_differ_by_what_they_stand_for() {
    assert_eq!(hash(&["a", "run"]), hash(&["a", "run"]));
    assert_ne!(hash(&["a", "run"]), hash(&["b", "run"]));
    assert_ne!(hash(&["a", "bc"]), hash(&["ab", "c"]));
}
