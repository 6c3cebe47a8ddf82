//! The three protocols of the AWS half: REST with JSON (EKS), query with XML (Auto Scaling, IAM,
//! STS) and EC2's own query form. Knows no operations.

use std::collections::BTreeMap;

use axum::http::{HeaderName, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::gateway::{Incoming, ServiceResponse};

/// A service, as it is named in the scope of a request's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceName {
    Eks,
    AutoScaling,
    Ec2,
    Iam,
    Sts,
}

impl ServiceName {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Eks => "eks",
            Self::AutoScaling => "autoscaling",
            Self::Ec2 => "ec2",
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }

    /// Returns the namespace of the service's XML.
    fn xmlns(self) -> &'static str {
        match self {
            Self::Eks => "",
            Self::AutoScaling => "http://autoscaling.amazonaws.com/doc/2011-01-01/",
            Self::Ec2 => "http://ec2.amazonaws.com/doc/2016-11-15/",
            Self::Iam => "https://iam.amazonaws.com/doc/2010-05-08/",
            Self::Sts => "https://sts.amazonaws.com/doc/2011-06-15/",
        }
    }
}

/// The service and the region of a signed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CredentialScope {
    pub(crate) region: String,
    pub(crate) service: ServiceName,
}

/// Parses the credential scope: `Credential=KEY/DATE/REGION/SERVICE/aws4_request`.
pub(crate) fn credential_scope(incoming: &Incoming) -> Option<CredentialScope> {
    let credential = incoming
        .header(header::AUTHORIZATION)
        .split_once("Credential=")?
        .1
        .split([',', ' '])
        .next()?;
    let mut parts = credential.split('/').skip(2);
    let region = parts.next()?.to_owned();
    let service = match parts.next()? {
        "eks" => ServiceName::Eks,
        "autoscaling" => ServiceName::AutoScaling,
        "ec2" => ServiceName::Ec2,
        "iam" => ServiceName::Iam,
        "sts" => ServiceName::Sts,
        _ => return None,
    };
    Some(CredentialScope { region, service })
}

/// An error response: HTTP status, the service's error code, the message, and additional fields of
/// EKS's body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AwsError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) fields: Value,
}

impl AwsError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), fields: json!({}) }
    }

    pub(crate) fn with_field(mut self, field: &str, value: &str) -> Self {
        self.fields[field] = value.into();
        self
    }

    /// Returns Auto Scaling's error for invalid parameters.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationError", message)
    }

    pub(crate) fn throttled(service: ServiceName) -> Self {
        match service {
            ServiceName::Eks => Self::new(429, "ThrottlingException", "Rate exceeded"),
            ServiceName::Ec2 => Self::new(503, "RequestLimitExceeded", "Request limit exceeded."),
            ServiceName::AutoScaling | ServiceName::Iam | ServiceName::Sts => {
                Self::new(400, "Throttling", "Rate exceeded")
            }
        }
    }

    /// Returns the error for a call that IAM does not allow.
    pub(crate) fn access_denied(service: ServiceName, why: &str) -> Self {
        match service {
            ServiceName::Eks => Self::new(403, "AccessDeniedException", why),
            ServiceName::Ec2 => {
                let why = format!("You are not authorized to perform this operation. {why}");
                Self::new(403, "UnauthorizedOperation", why)
            }
            ServiceName::AutoScaling | ServiceName::Iam | ServiceName::Sts => {
                Self::new(403, "AccessDenied", why)
            }
        }
    }

    pub(crate) fn to_response(&self, service: ServiceName, request: u64) -> ServiceResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        match service {
            ServiceName::Eks => {
                let mut body = self.fields.clone();
                body["message"] = self.message.as_str().into();
                ServiceResponse::new(status, "application/json", body.to_string())
                    .with_header(HeaderName::from_static("x-amzn-errortype"), self.code.as_str())
            }
            ServiceName::Ec2 => {
                let errors = json!([{"Code": self.code, "Message": self.message}]);
                let body = json!({"Errors": errors, "RequestID": request_id(request)});
                ServiceResponse::new(status, XML, xml_document("Response", "", "Error", &body))
            }
            ServiceName::AutoScaling | ServiceName::Iam | ServiceName::Sts => {
                let side = if self.status < 500 { "Sender" } else { "Receiver" };
                let body = json!({
                    "Error": {"Type": side, "Code": self.code, "Message": self.message},
                    "RequestId": request_id(request),
                });
                let xml = xml_document("ErrorResponse", service.xmlns(), "member", &body);
                ServiceResponse::new(status, XML, xml)
            }
        }
        .with_header(REQUEST_ID, request_id(request))
    }
}

const XML: &str = "text/xml";
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

fn request_id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// Returns the response to a successful call.
pub(crate) fn success_response(
    service: ServiceName,
    action: &str,
    result: &Value,
    request: u64,
) -> ServiceResponse {
    let id = request_id(request);
    let response = match service {
        ServiceName::Eks => {
            ServiceResponse::new(StatusCode::OK, "application/json", result.to_string())
        }
        ServiceName::Ec2 => {
            let mut body = result.clone();
            body["requestId"] = id.as_str().into();
            let root = format!("{action}Response");
            ServiceResponse::new(
                StatusCode::OK,
                XML,
                xml_document(&root, service.xmlns(), "item", &body),
            )
        }
        ServiceName::AutoScaling | ServiceName::Iam | ServiceName::Sts => {
            let body = json!({
                format!("{action}Result"): result,
                "ResponseMetadata": {"RequestId": id},
            });
            let root = format!("{action}Response");
            ServiceResponse::new(
                StatusCode::OK,
                XML,
                xml_document(&root, service.xmlns(), "member", &body),
            )
        }
    };
    response.with_header(REQUEST_ID, id)
}

/// Returns JSON as XML: fields become elements, and each element of a list is called `item`.
fn xml_document(root: &str, xmlns: &str, item: &str, body: &Value) -> String {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let attribute = match xmlns {
        "" => String::new(),
        xmlns => format!(" xmlns=\"{xmlns}\""),
    };
    text.extend(["<", root, &attribute, ">"]);
    write_content(&mut text, item, body);
    text.extend(["</", root, ">"]);
    text
}

fn write_content(text: &mut String, item: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => text.push_str(&number.to_string()),
        Value::String(string) => text.push_str(&quick_xml::escape::escape(string.as_str())),
        Value::Array(items) => items.iter().for_each(|one| write_element(text, item, item, one)),
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(_, field)| !field.is_null()) {
                write_element(text, name, item, field);
            }
        }
    }
}

fn write_element(text: &mut String, name: &str, item: &str, value: &Value) {
    text.extend(["<", name, ">"]);
    write_content(text, item, value);
    text.extend(["</", name, ">"]);
}

/// The parameters of a query request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct QueryParameters(BTreeMap<String, String>);

impl QueryParameters {
    pub(crate) fn parse(form: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(form).into_owned().collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u32>, AwsError> {
        self.get(key)
            .map(|text| {
                text.parse().map_err(|_| {
                    AwsError::validation(format!("{key} must be a whole number, not {text:?}"))
                })
            })
            .transpose()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    pub(crate) fn required(&self, key: &str) -> Result<&str, AwsError> {
        self.get(key).filter(|text| !text.is_empty()).ok_or_else(|| {
            AwsError::validation(format!(
                "1 validation error detected: Value null at '{key}' failed to satisfy constraint: \
                 Member must not be null"
            ))
        })
    }

    /// Returns the values of `KEY.1`, `KEY.2`, … in order.
    pub(crate) fn list(&self, key: &str) -> Vec<&str> {
        (1..).map_while(|at| self.get(&format!("{key}.{at}"))).collect()
    }

    /// Returns the filters: `KEY.1.Name` with the values `KEY.1.VALUES.1`, ….
    pub(crate) fn filters(&self, key: &str, values: &str) -> Vec<(&str, Vec<&str>)> {
        (1..)
            .map_while(|at| {
                let name = self.get(&format!("{key}.{at}.Name"))?;
                Some((name, self.list(&format!("{key}.{at}.{values}"))))
            })
            .collect()
    }

    /// Returns the parameters on one line, without those that every request has.
    pub(crate) fn summary(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .filter(|(key, _)| !matches!(key.as_str(), "Action" | "Version" | "NextToken"))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        parts.join(" ")
    }
}

/// Returns the page of `all` that begins at `token`, and the token of the next page.
pub(crate) fn paginate<T>(
    all: Vec<T>,
    size: usize,
    token: Option<&str>,
) -> Result<(Vec<T>, Option<String>), AwsError> {
    let start = match token {
        None | Some("") => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|number| number.parse().ok())
            .filter(|start| *start <= all.len())
            .ok_or_else(|| AwsError::new(400, "InvalidNextToken", "The token is not valid."))?,
    };
    let end = start + size;
    let next = (end < all.len()).then(|| format!("page-{end}"));
    let items = all.into_iter().skip(start).take(size).collect();
    Ok((items, next))
}

/// Formats a time as the XML services do.
pub(crate) fn format_iso8601(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Formats a time as EKS does.
#[expect(clippy::cast_precision_loss, reason = "the milliseconds of a date fit in 53 bits")]
pub(crate) fn epoch_seconds(moment: Timestamp) -> f64 {
    moment.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_repeated_elements_and_text_is_escaped() {
        let body = json!({"Groups": [{"Name": "a<b"}], "Empty": [], "Gone": null});
        let xml = xml_document("R", "", "member", &body);
        assert!(
            xml.ends_with(
                "<R><Groups><member><Name>a&lt;b</Name></member></Groups><Empty></Empty></R>"
            ) || xml.ends_with(
                "<R><Empty></Empty><Groups><member><Name>a&lt;b</Name></member></Groups></R>"
            ),
            "{xml}"
        );
    }

    #[test]
    fn numbered_parameters_become_lists() {
        let parameters = QueryParameters::parse(
            b"Ids.member.1=a&Ids.member.2=b&Filter.1.Name=x&Filter.1.Value.1=y",
        );
        assert_eq!(parameters.list("Ids.member"), ["a", "b"]);
        assert_eq!(parameters.filters("Filter", "Value"), [("x", vec!["y"])]);
    }

    #[test]
    fn the_next_token_of_a_page_leads_to_the_next_page() {
        let (first, token) = paginate(vec![1, 2, 3], 2, None).unwrap();
        assert_eq!((first, token.as_deref()), (vec![1, 2], Some("page-2")));
        let (second, token) = paginate(vec![1, 2, 3], 2, token.as_deref()).unwrap();
        assert_eq!((second, token), (vec![3], None));
        assert!(paginate(vec![1], 2, Some("nonsense")).is_err());
    }
}
