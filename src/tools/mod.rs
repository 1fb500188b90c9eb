//! stub
use crate::ids::*;
use crate::machine::event::*;
use crate::policy::taxonomy::Observation;
pub struct Toolbox;
pub struct Job {
    pub call: CallId,
    pub tool: String,
    pub args: serde_json::Value,
    pub key: Option<IdempotencyKey>,
    pub attempt: u32,
}
pub struct Tried {
    pub observation: Observation,
    pub delivery: Delivery,
    pub content: Content,
    pub took_ms: u64,
}
impl Toolbox {
    pub fn refuse(&self, _: &str, _: &serde_json::Value) -> Option<String> {
        None
    }
    pub async fn try_once(&self, _: &Job) -> Tried {
        unimplemented!()
    }
    pub async fn probe(&self, _: &Job) -> Settlement {
        unimplemented!()
    }
}

pub struct ToolHome {
    pub run: RunId,
    pub cwd: std::path::PathBuf,
    pub output_dir: std::path::PathBuf,
    pub env: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    pub variables: Box<dyn Fn(&str) -> Option<String> + Send + Sync>,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
impl Toolbox {
    pub fn new(
        _: &crate::task::resolved::Resolved,
        _: ToolHome,
        _: crate::process::Launcher,
    ) -> Result<Self, Error> {
        Ok(Self)
    }
}
