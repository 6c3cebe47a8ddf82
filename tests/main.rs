//! The one integration-test binary: a module a feature. `support` has the words that the tests are written in.

mod architecture;
mod command_line;
mod crash;
mod documents;
mod engine;
mod json_schema;
mod language;
mod relay_scale;
mod scale_up;
mod service;
mod signals;
mod simulator;
mod support;
mod validate;
