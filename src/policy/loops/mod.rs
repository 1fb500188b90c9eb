//! stub
use serde::{Deserialize, Serialize};
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config;
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolTraits {
    pub identity: Option<Vec<String>>,
    pub ignore: Vec<String>,
    pub poll: Option<bool>,
    pub mutates: Option<bool>,
    pub exempt: bool,
}
pub fn identity(_: &str, _: &serde_json::Value, _: &ToolTraits) -> String {
    String::new()
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Print;
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ErrorKind {
    None,
    Semantic,
    Transport,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Warn,
    Steer,
    Stop,
}
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub level: Level,
    pub rung: String,
    pub identity: String,
    pub first: u64,
    pub last: u64,
    pub count: u64,
    pub why: String,
    pub steer: Option<String>,
}
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detector;
impl Print {
    pub fn of(
        _: &str,
        _: &serde_json::Value,
        _: &serde_json::Value,
        _: bool,
        _: ErrorKind,
        _: &ToolTraits,
    ) -> Self {
        Self
    }
}
impl Detector {
    pub fn new(_: Config) -> Self {
        Self
    }
    pub fn observe(&mut self, _: Print, _: Option<i64>, _: Option<u32>) -> Option<Finding> {
        None
    }
    pub fn human_input(&mut self) {}
}
