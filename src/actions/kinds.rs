//! The kinds of the strings in parameters and outputs, as their schemas have them: a list of node names is not accepted
//! where a list of instance ids is wanted (`Syntax` of the language). The values are strings everywhere else.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Declares a type of strings of one kind, for `#[schemars(with = "…")]`.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $syntax:literal;)*) => {
        $(
            $(#[$doc])*
            pub enum $name {}

            impl JsonSchema for $name {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> std::borrow::Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({"type": "string", "x-syntax": $syntax})
                }
            }
        )*
    };
}

kinds! {
    /// The name of a node.
    NodeName = "node-name";
    /// The name of a pod.
    PodName = "pod-name";
    /// The id of an EC2 instance.
    InstanceId = "instance-id";
    /// A quantity of a resource, such as `100m` or `64Mi`.
    Quantity = "quantity";
    /// A reference to a container image.
    ImageName = "image";
}
