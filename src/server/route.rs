//! A route of the API as data: the router and `/openapi.json` are made of the same table, so neither can say what the
//! other does not do.

use axum::{
    extract::DefaultBodyLimit,
    http::{Method, StatusCode},
    middleware,
    routing::MethodRouter,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{
    Service,
    auth::{Access, Needs},
    body, conditional, limits,
};

/// Adds the schema of a type to a document, and returns a reference to it.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// A path with everything that can be done with it.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// The requirements of a client.
    pub(super) needs: Needs,
    pub(super) operations: Vec<Operation>,
    handler: MethodRouter<Service>,
    body: RouteBody,
    /// Whether the service limits how many of its requests it answers at a time.
    is_limited: bool,
}

/// A method of a route.
pub(super) struct Operation {
    pub(super) method: Method,
    /// The summary, in one line.
    pub(super) summary: &'static str,
    /// The parameters of its query, as the properties of a type.
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<Content>,
    pub(super) answers: Vec<Answer>,
}

/// A body: its media type, and its type where it is JSON.
pub(super) struct Content {
    pub(super) media_type: &'static str,
    pub(super) schema: Option<SchemaOf>,
}

/// One of the answers of an operation.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) description: &'static str,
    pub(super) content: Vec<Content>,
}

/// The body that a route takes.
#[derive(Clone, Copy)]
pub(super) enum RouteBody {
    /// None.
    None,
    /// A short one.
    Short,
    /// Up to this many bytes.
    UpTo(usize),
}

impl Route {
    pub(super) fn new(path: &'static str, needs: Needs, handler: MethodRouter<Service>) -> Self {
        let (operations, body) = (Vec::new(), RouteBody::None);
        Self { path, needs, operations, handler, body, is_limited: true }
    }

    /// Says what a method does.
    pub(super) fn with(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// Takes a body.
    pub(super) fn taking(mut self, body: RouteBody) -> Self {
        self.body = body;
        self
    }

    /// Leaves it to the handler how many of its requests are answered at a time.
    pub(super) fn unlimited(mut self) -> Self {
        self.is_limited = false;
        self
    }

    /// Returns the handler of the route behind its layers. The body is received before a request counts as one that is
    /// being answered, and only of a client that may use the route.
    pub(super) fn into_handler(self, service: &Service, access: &Access) -> MethodRouter<Service> {
        let mut handler = self.handler;
        if self.is_limited {
            handler = limits::limited(handler, service.limits());
        }
        handler = match self.body {
            RouteBody::None => handler,
            RouteBody::Short => body::receiving(handler, service),
            RouteBody::UpTo(bytes) => {
                body::receiving(handler, service).layer(DefaultBodyLimit::max(bytes))
            }
        };
        // What changes something, or may, is never answered from what a client has.
        if matches!(self.needs, Needs::Nothing | Needs::Status | Needs::Read) {
            handler = handler.route_layer(middleware::from_fn(conditional::tag));
        }
        access.guard(handler, self.needs)
    }
}

impl Operation {
    pub(super) fn new(method: Method, summary: &'static str) -> Self {
        Self { method, summary, query: None, body: None, answers: Vec::new() }
    }

    pub(super) fn get(summary: &'static str) -> Self {
        Self::new(Method::GET, summary)
    }

    pub(super) fn post(summary: &'static str) -> Self {
        Self::new(Method::POST, summary)
    }

    pub(super) fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(SchemaGenerator::root_schema_for::<T>);
        self
    }

    pub(super) fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Content::json::<T>());
        self
    }

    pub(super) fn text_body(mut self, media_type: &'static str) -> Self {
        self.body = Some(Content { media_type, schema: None });
        self
    }

    /// Answers 200 with a type.
    pub(super) fn answers<T: JsonSchema>(self, description: &'static str) -> Self {
        self.answer(StatusCode::OK, description, vec![Content::json::<T>()])
    }

    /// Refuses or fails with a status.
    pub(super) fn or<T: JsonSchema>(self, status: StatusCode, description: &'static str) -> Self {
        self.answer(status, description, vec![Content::json::<T>()])
    }

    pub(super) fn answer(
        mut self,
        status: StatusCode,
        description: &'static str,
        content: Vec<Content>,
    ) -> Self {
        self.answers.push(Answer { status, description, content });
        self
    }
}

impl Content {
    pub(super) fn json<T: JsonSchema>() -> Self {
        let schema: SchemaOf = |generator| generator.subschema_for::<T>();
        Self { media_type: "application/json", schema: Some(schema) }
    }

    pub(super) fn of<T: JsonSchema>(media_type: &'static str) -> Self {
        Self { media_type, ..Self::json::<T>() }
    }
}
