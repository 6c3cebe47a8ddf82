//! Objects as the tables that `kubectl get` prints: the columns of a kind and the rows of its objects.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::kubernetes::custom::{self, PrinterColumn};
use crate::kubernetes::kinds::column::age;
use crate::kubernetes::kinds::{Column, Kind};

use super::representation::metadata_only;

/// A column of a table.
enum TableColumn {
    Own(&'static Column),
    /// One that the definition of a custom kind has.
    Custom(&'static PrinterColumn),
}

impl TableColumn {
    fn name(&self) -> &'static str {
        match self {
            Self::Own(column) => column.name,
            Self::Custom(column) => &column.name,
        }
    }

    fn is_wide(&self) -> bool {
        match self {
            Self::Own(column) => column.wide,
            Self::Custom(column) => column.priority > 0,
        }
    }

    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        match self {
            Self::Own(column) => (column.cell)(object, now),
            Self::Custom(column) => match column.value(object) {
                Some(_) if column.type_ == "date" => {
                    age(object, "/metadata/creationTimestamp", now)
                }
                value => value.cloned().unwrap_or_default(),
            },
        }
    }
}

/// The part of its object that each row includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    Nothing,
    Metadata,
    Object,
}

/// Returns the table of some objects of one kind.
pub(crate) fn table<'a>(
    resource: &Kind,
    objects: impl Iterator<Item = &'a Value>,
    include: IncludeObject,
    metadata: &Value,
    now: Timestamp,
) -> Value {
    let columns = columns(resource);
    let definitions: Vec<Value> = columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name(),
                "type": "string",
                "format": if column.name() == "Name" { "name" } else { "" },
                "description": "",
                "priority": i32::from(column.is_wide()),
            })
        })
        .collect();
    let rows: Vec<Value> = objects
        .map(|object| {
            let cells: Vec<Value> = columns.iter().map(|c| c.cell(object, now)).collect();
            let mut row = json!({"cells": cells});
            match include {
                IncludeObject::Nothing => {}
                IncludeObject::Metadata => row["object"] = metadata_only(object),
                IncludeObject::Object => row["object"] = object.clone(),
            }
            row
        })
        .collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn columns(resource: &Kind) -> Vec<TableColumn> {
    match custom::columns(resource) {
        Some(custom) => {
            let name = resource.columns.iter().take(1).map(TableColumn::Own);
            name.chain(custom.iter().map(TableColumn::Custom)).collect()
        }
        None => resource.columns.iter().map(TableColumn::Own).collect(),
    }
}
