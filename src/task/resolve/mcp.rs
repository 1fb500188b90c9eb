//! `mcp`: tools that MCP servers run.

use std::collections::BTreeMap;

use super::Checker;
use crate::task::locate::{KeyPath, Part, Segment};
use crate::task::resolved::{BreakerConfig, Effect, NativeKey, Tool};
use crate::task::written;

impl Checker<'_> {
    /// Resolves the tools of all servers, with those that nobody named.
    pub(super) fn servers(
        &mut self,
        retry: &written::Retry,
        breaker: Option<&BreakerConfig>,
    ) -> Option<BTreeMap<String, Tool>> {
        let top = KeyPath::root().key("mcp");
        let servers = self.entries(&top, |check, path, server: written::McpServer| {
            check.server(path, server, retry, breaker)
        });
        let nobody = self.lent(&top, written::McpTool::default(), retry, breaker);
        let mut lent = BTreeMap::from([("*/*".to_owned(), nobody?)]);
        for (server, tools) in servers? {
            let named = tools.into_iter();
            lent.extend(named.map(|(tool, settings)| (format!("{server}/{tool}"), settings)));
        }
        Some(lent)
    }

    fn server(
        &mut self,
        path: &KeyPath,
        server: written::McpServer,
        retry: &written::Retry,
        breaker: Option<&BreakerConfig>,
    ) -> Option<BTreeMap<String, Tool>> {
        self.mcp_name(path, 64, |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
        });
        let others = self.lent(&path.key("default"), server.others, retry, breaker);
        let tools = self.entries(&path.key("tools"), |check, path, tool| {
            check.mcp_name(path, 128, |c| !c.is_control() && c != '*');
            check.lent(path, tool, retry, breaker)
        });
        let mut tools = tools?;
        tools.insert("*".to_owned(), others?);
        Some(tools)
    }

    fn lent(
        &mut self,
        path: &KeyPath,
        tool: written::McpTool,
        retry: &written::Retry,
        breaker: Option<&BreakerConfig>,
    ) -> Option<Tool> {
        let is_read = tool.effect == Effect::Read;
        let (tool, native) = tool.split();
        let native_key = match native {
            Some(key) if !is_read => Some(self.mcp_key(&path.key("native_key"), key)),
            // Told with the other keys that reads have no use for.
            Some(_) | None => None,
        };
        let guarded = self.guarded(path, tool, retry, breaker)?;
        Some(Tool {
            native_key: match native_key {
                Some(key) => Some(key?),
                None => None,
            },
            ..guarded
        })
    }

    fn mcp_key(&mut self, path: &KeyPath, key: written::McpKey) -> Option<NativeKey> {
        self.one_of(path, "argument", "meta");
        match (key.argument, key.meta) {
            (Some(name), None) => Some(NativeKey::Argument(name)),
            (None, Some(name)) => Some(NativeKey::Meta(name)),
            _ => None,
        }
    }

    fn mcp_name(&mut self, path: &KeyPath, chars_max: usize, takes: impl Fn(char) -> bool) {
        let Some(Segment::Key(name)) = path.segments().last() else {
            return;
        };
        if !(1..=chars_max).contains(&name.chars().count()) || !name.chars().all(takes) {
            let expected = match chars_max {
                64 => "1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `-`",
                _ => "a name of 1 to 128 characters without `*`",
            };
            let what = "is no name of an MCP server or of its tool";
            self.refuse(path, Part::Key, what, Some(expected), None);
        }
    }
}
