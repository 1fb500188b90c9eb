//! Checks of a JSON document against a JSON Schema.

use std::path::Path;

use serde_json::Value;

use super::{FILE_BYTES_MAX, Said, Site, files};
use crate::task::resolved::Schema as Source;
use crate::tools::schema::Schema;

/// Checks a file of the workspace, or the agent's result where `file` is `None`.
pub(super) async fn check(site: &Site<'_>, file: Option<&str>, schema: &Source) -> Said {
    let Source::Inline(source) = schema else {
        return Said::unchecked("has no schema: its file was not read", "");
    };
    let compiled = match Schema::compile(source) {
        Ok(compiled) => compiled,
        Err(why) => return Said::unchecked("has a schema that cannot be used", why),
    };
    let document = match file {
        Some(file) => {
            let path = site.workspace.join(file);
            let read = tokio::task::spawn_blocking(move || read(&path));
            read.await.unwrap_or_else(|error| Err(error.to_string()))
        }
        None => match site.result {
            None | Some(Value::Null) => Err("is missing: the agent reported no result".to_owned()),
            Some(result) => Ok(result.clone()),
        },
    };
    match document {
        Err(why) => Said::failed(why, ""),
        Ok(document) => match complaints(&compiled, &document) {
            None => Said::passed("meets its schema"),
            Some(complaints) => Said::failed("does not meet its schema", complaints),
        },
    }
}

/// Returns what is wrong with a document. A result that is a text may be JSON itself:
/// many an agent can only report texts.
fn complaints(schema: &Schema, document: &Value) -> Option<String> {
    let of = |value: &Value| schema.complaints(value, "the document");
    let as_it_is = of(document)?;
    match document.as_str().map(serde_json::from_str::<Value>) {
        Some(Ok(inner)) => of(&inner),
        Some(Err(_)) | None => Some(as_it_is),
    }
}

/// Reads a JSON file.
///
/// Errors: a clause that follows what the file is called.
pub(super) fn read(path: &Path) -> Result<Value, String> {
    let bytes = files::read(path, FILE_BYTES_MAX).map_err(|why| {
        let name = path.display();
        format!("cannot be read: {name} {why}")
    })?;
    serde_json::from_slice(&bytes).map_err(|error| format!("is no JSON: {error}"))
}
