//! Tools: real processes and a real HTTP server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use agentguard::ids::{CallId, IdempotencyKey, RunId};
use agentguard::machine::event::{Delivery, Settlement};
use agentguard::policy::taxonomy::{Class, History, classify};
use agentguard::process::Launcher;
use agentguard::task;
use agentguard::tools::{Error, Job, TEXT_BYTES_MAX, ToolHome, Toolbox, Tried};
use serde_json::{Value, json};

use crate::support::http_server::{Reply, Server};

/// A toolbox in a folder of its own.
struct Bench {
    toolbox: Toolbox,
    folder: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const SECRET: &str = "fake-secret-0123456789";

/// Makes a folder that no other test has.
fn fresh_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("agentguard-tools-{}-{number}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// A run of its own: at the end of a call's time all that carries the run's
/// and the call's mark is ended, whoever started it.
fn run_of(folder: &Path) -> RunId {
    let name = folder.to_string_lossy();
    RunId::from_bits(name.bytes().fold(7, |bits: u64, byte| {
        bits.wrapping_mul(31).wrapping_add(u64::from(byte))
    }))
}

fn made(tools: &str, folder: &Path, more_env: &[(&str, &str)]) -> Result<Toolbox, Error> {
    let text = format!("agent:\n  command: [\"true\"]\n  grace: 100ms\ntools:\n{tools}");
    let task =
        task::load(&text, "t.yaml").unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut env: Vec<(OsString, OsString)> = vec![
        ("PATH".into(), path),
        (
            "AGENTGUARD_IDEMPOTENCY_KEY".into(),
            "of an outer run".into(),
        ),
        ("SERVICE_TOKEN".into(), SECRET.into()),
    ];
    env.extend(
        more_env
            .iter()
            .map(|(name, value)| (name.into(), value.into())),
    );
    let variables = BTreeMap::from([
        ("SERVICE_TOKEN", SECRET),
        ("PLACE", "here"),
        ("TWO_LINES", "a\nb"),
    ]);
    let home = ToolHome {
        run: run_of(folder),
        cwd: folder.to_owned(),
        output_dir: folder.join("calls"),
        env,
        variables: Box::new(move |name| variables.get(name).map(|value| (*value).to_owned())),
    };
    Toolbox::new(&task, home, Launcher::at(env!("CARGO_BIN_EXE_agentguard")))
}

impl Bench {
    fn new(tools: &str) -> Self {
        Self::with_env(tools, &[])
    }

    fn with_env(tools: &str, more_env: &[(&str, &str)]) -> Self {
        let folder = fresh_folder();
        let toolbox = made(tools, &folder, more_env).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            toolbox,
            folder,
            runtime,
        }
    }

    fn job(tool: &str, args: Value) -> Job {
        let key = Some(IdempotencyKey("order:7".into()));
        Job {
            call: CallId(3),
            tool: tool.into(),
            args,
            key,
            attempt: 1,
        }
    }

    fn try_once(&self, tool: &str, args: Value) -> Tried {
        self.runtime
            .block_on(self.toolbox.try_once(&Self::job(tool, args)))
    }

    fn probe(&self, tool: &str, args: Value) -> Settlement {
        self.runtime
            .block_on(self.toolbox.probe(&Self::job(tool, args)))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.join("calls"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn class(tried: &Tried) -> Class {
    classify(&tried.observation, &[], &History::default()).class
}

#[test]
fn a_word_stays_one_word_and_stdin_has_the_arguments() {
    let bench = Bench::new(
        "  show:\n    command: [sh, -c, 'printf \"%s|\" \"$@\"; cat', sh, '{text}', 'n={n}']\n",
    );
    let args = json!({"text": "a b; $(touch x) 'q'\n*", "n": 2});
    let tried = bench.try_once("show", args.clone());
    let want = format!("a b; $(touch x) 'q'\n*|n=2|{args}\n");
    assert_eq!(tried.content.text, want);
    assert!(!tried.content.is_error);
    assert_eq!(tried.delivery, Delivery::Answered);
    assert_eq!(tried.observation.result["exit_code"], 0);
    assert_eq!(tried.observation.context["command"][3], "sh");
    assert_eq!(tried.observation.context["call"]["arguments"], args);
    assert_eq!(class(&tried), Class::Success);
    assert_eq!(bench.files(), ["3.1.stdout"]);
}

#[test]
fn a_command_finds_its_environment_and_key() {
    let names =
        "AGENTGUARD_IDEMPOTENCY_KEY AGENTGUARD_CALL_ID AGENTGUARD_RUN_ID ORDER_KEY WHERE WHAT";
    let tools = format!(
        "  show:\n    command: [sh, -c, 'for n in {names}; do eval \"echo $n=\\$$n\"; done']\n    \
         stdin: none\n    native_key: {{env: ORDER_KEY}}\n    env: {{WHERE: '{{env.PLACE}}', WHAT: '{{what}}'}}\n"
    );
    let bench = Bench::new(&tools);
    let tried = bench.try_once("show", json!({"what": "it"}));
    let run = run_of(&bench.folder);
    let want = format!(
        "AGENTGUARD_IDEMPOTENCY_KEY=order:7\nAGENTGUARD_CALL_ID=3\nAGENTGUARD_RUN_ID={run}\n\
         ORDER_KEY=order:7\nWHERE=here\nWHAT=it\n"
    );
    assert_eq!(tried.content.text, want);

    let mut job = Bench::job("show", json!({"what": "it"}));
    job.key = None;
    let tried = bench.runtime.block_on(bench.toolbox.try_once(&job));
    assert!(
        tried
            .content
            .text
            .starts_with("AGENTGUARD_IDEMPOTENCY_KEY=\n"),
        "{}",
        tried.content.text
    );
}

#[test]
fn how_commands_end() {
    let tools = r#"
  fails: {command: [sh, -c, 'echo out; echo "bad thing" >&2; exit 3'], stdin: none}
  finds_nothing: {command: [grep, nothing, /dev/null], stdin: none, effect: read}
  killed: {command: [sh, -c, 'kill -9 $$'], stdin: none}
  slow: {command: [sh, -c, 'echo begun; exec sleep 1000'], stdin: none, timeout: 300ms}
  missing: {command: [agentguard-no-such-program], stdin: none}
  closed: {command: [./closed], stdin: none}
  warns: {command: [sh, -c, 'echo note >&2'], stdin: none}
  silent: {command: ['true'], stdin: none}
"#;
    let bench = Bench::new(tools);
    fs::write(bench.folder.join("closed"), "#!/bin/sh\n").unwrap();
    use Delivery::{Answered, NeverSent, Unknown};
    #[rustfmt::skip]
    let rows = [
        ("fails", Answered, json!(3), json!(null), "exit status 3\n[stderr]\nbad thing\n\n[stdout]\nout\n", true),
        ("finds_nothing", Answered, json!(1), json!(null), "exit status 1", true),
        ("killed", Unknown, json!(null), json!("SIGKILL"), "killed by SIGKILL", true),
        ("slow", Unknown, json!(null), json!("SIGTERM"), "ended after 300 ms, its time limit\n[stdout]\nbegun\n", true),
        ("warns", Answered, json!(0), json!(null), "[nothing on stdout; on stderr:]\nnote\n", false),
        ("silent", Answered, json!(0), json!(null), "", false),
    ];
    for (tool, delivery, code, signal, text, is_error) in rows {
        let tried = bench.try_once(tool, json!({}));
        let result = &tried.observation.result;
        assert_eq!(tried.delivery, delivery, "row: {tool}");
        assert_eq!(
            (&result["exit_code"], &result["signal"]),
            (&code, &signal),
            "row: {tool}"
        );
        assert_eq!(
            (tried.content.text.as_str(), tried.content.is_error),
            (text, is_error),
            "row: {tool}"
        );
        assert_eq!(result["timed_out"], tool == "slow", "row: {tool}");
    }
    let nothing = bench.try_once("finds_nothing", json!({}));
    assert_eq!(class(&nothing), Class::Success);
    assert!(!nothing.judged(Class::Success, "nothing found").is_error);

    for (tool, code, words) in [
        (
            "missing",
            125,
            "agentguard-no-such-program: command not found",
        ),
        ("closed", 125, "it has no permission to be executed"),
    ] {
        let tried = bench.try_once(tool, json!({}));
        assert_eq!(
            (tried.delivery, class(&tried)),
            (NeverSent, Class::Persistent),
            "row: {tool}"
        );
        assert_eq!(tried.observation.result["exit_code"], code, "row: {tool}");
        assert!(
            tried.content.text.contains(words),
            "row: {tool}: {}",
            tried.content.text
        );
    }
    assert_eq!(class(&bench.try_once("slow", json!({}))), Class::Transient);
}

#[test]
fn output_is_whole_on_disk_and_bounded_for_the_model() {
    let tools = r#"
  flood: {command: [sh, -c, 'head -c 5000000 /dev/zero | tr "\0" x; echo; echo end'], stdin: none}
  bytes: {command: [printf, 'a\377\376b\0c'], stdin: none}
"#;
    let bench = Bench::new(tools);
    let tried = bench.try_once("flood", json!({}));
    let path = tried.content.path.clone().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 5_000_005);
    assert!(tried.content.truncated && tried.content.text.len() < TEXT_BYTES_MAX + 300);
    assert!(tried.content.text.ends_with("x\nend\n"));
    let left_out = 5_000_005 - TEXT_BYTES_MAX;
    assert!(
        tried
            .content
            .text
            .contains(&format!("[... {left_out} bytes left out; see {path} ...]"))
    );

    let tried = bench.try_once("bytes", json!({}));
    assert_eq!(tried.content.text, "a\u{fffd}\u{fffd}b\0c");
    assert_eq!(
        fs::read(tried.content.path.unwrap()).unwrap(),
        b"a\xff\xfeb\0c"
    );
    let mode =
        std::os::unix::fs::MetadataExt::mode(&fs::metadata(bench.folder.join("calls")).unwrap());
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn output_that_breaks_its_schema_is_quality_and_says_why() {
    let tools = r#"
  total:
    command: [echo, '{text}']
    stdin: none
    output: {type: object, required: [total], properties: {total: {type: number}}}
"#;
    let bench = Bench::new(tools);
    let tried = bench.try_once("total", json!({"text": "{\"total\": 4}"}));
    assert_eq!(
        (tried.json.clone(), tried.mismatch.clone()),
        (Some(json!({"total": 4})), None)
    );
    assert_eq!(class(&tried), Class::Success);

    let tried = bench.try_once("total", json!({"text": "{\"total\": \"4\"}"}));
    assert_eq!(
        tried.mismatch.as_deref(),
        Some("- `total` is the string \"4\", expected a number")
    );
    let verdict = classify(&tried.observation, &[], &History::default());
    assert_eq!(verdict.class, Class::Quality);
    let text = tried.judged(verdict.class, &verdict.why).text;
    assert!(text.contains("`total` is the string"), "{text}");

    let tried = bench.try_once("total", json!({"text": "four"}));
    assert_eq!(tried.mismatch.as_deref(), Some("- the output is not JSON"));
}

#[test]
fn secrets_stay_out_of_everything_but_the_file() {
    let tools = "  leak: {command: [sh, -c, 'echo $SERVICE_TOKEN; echo $SERVICE_TOKEN >&2; exit 1'], stdin: none}\n";
    let bench = Bench::new(tools);
    let tried = bench.try_once("leak", json!({}));
    assert!(
        !format!("{tried:?} {:?}", bench.toolbox).contains(SECRET),
        "{tried:?}"
    );
    assert_eq!(
        tried.content.text,
        "exit status 1\n[stderr]\n***\n\n[stdout]\n***\n"
    );
}

#[test]
fn refusals_table() {
    let tools = r#"
  charge:
    command: [charge, '{to.id}', '{amount}']
    input:
      type: object
      required: [amount]
      properties: {amount: {type: number, minimum: 1}, to: {type: object}}
  free: {command: [free, '{word}']}
"#;
    let bench = Bench::new(tools);
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    #[rustfmt::skip]
    let rows = [
        ("what fits", "charge", json!({"amount": 2, "to": {"id": 1}}), ""),
        ("a broken schema", "charge", json!({"amount": "2"}), "- `amount` is the string \"2\", expected a number"),
        ("a placeholder without its argument", "charge", json!({"amount": 2}), "- `{to.id}` is not among the arguments: `amount`"),
        ("a NUL", "free", json!({"word": "a\0b"}), "- `{word}` has a NUL, which cannot stand in a command line"),
        ("no object", "free", json!(["x"]), "- the arguments are an array, expected an object of names and values"),
        ("too deep", "free", json!({"word": deep}), "- the arguments are nested deeper than 64 levels"),
        ("an unknown tool is somebody else's matter", "nope", json!(1), ""),
    ];
    for (name, tool, args, want) in rows {
        let refused = bench.toolbox.refuse(tool, &args).unwrap_or_default();
        let middle = refused
            .lines()
            .filter(|line| line.starts_with('-'))
            .collect::<Vec<_>>()
            .join("\n");
        assert_eq!(middle, want, "row: {name}");
    }
    let whole = bench.toolbox.refuse("charge", &json!({})).unwrap();
    assert_eq!(
        whole,
        "The tool `charge` was not called, because its arguments do not fit:\n\
         - `amount` is missing, expected a number\nCorrect them and call it again."
    );
}

#[test]
fn what_is_wrong_with_the_tools_is_told_before_the_run() {
    #[rustfmt::skip]
    let rows = [
        ("an unset variable", "  a: {command: [x], env: {A: '{env.NOPE}'}}\n",
         "tool `a` needs the environment variable `NOPE`, which is not set"),
        ("a variable that is no header", "  a: {http: {url: 'http://a.test', headers: {X: '{env.TWO_LINES}'}}}\n",
         "tool `a`: `{env.TWO_LINES}` has a control character, which cannot stand in a header or URL"),
    ];
    for (name, tools, want) in rows {
        let folder = fresh_folder();
        let error = made(tools, &folder, &[])
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(want), "row: {name}");
        let _ = fs::remove_dir_all(folder);
    }
}

#[test]
fn probes_table() {
    let tools = r#"
  pay:
    command: ['true']
    probe: {command: [sh, -c, 'test "$AGENTGUARD_IDEMPOTENCY_KEY" = order:7 || exit 9; echo "paid $1"; echo why >&2; exit "$2"', sh, '{id}', '{code}'], timeout: 5s}
  silent: {command: ['true'], probe: {command: ['true']}}
  slow: {command: ['true'], probe: {command: [sleep, '1000'], timeout: 200ms}}
  lost: {command: ['true'], probe: {command: [agentguard-no-such-program]}}
  none: {command: ['true']}
"#;
    let bench = Bench::new(tools);
    let pay = |code: u32| match bench.probe("pay", json!({"id": 7, "code": code})) {
        Settlement::Happened { content } => format!("happened: {}", content.text),
        Settlement::NotHappened => "not happened".to_owned(),
        Settlement::Unknown { why } => why,
    };
    assert_eq!(pay(0), "happened: paid 7\n");
    assert_eq!(pay(1), "not happened");
    assert_eq!(
        pay(2),
        "the probe ended with exit status 2, expected exit status 0 or 1: why"
    );
    assert!(
        matches!(bench.probe("silent", json!({})), Settlement::Happened { content } if !content.text.is_empty())
    );
    #[rustfmt::skip]
    let unknown = [
        ("slow", "the probe took longer than 200 ms"),
        ("lost", "the probe did not start: agentguard-no-such-program: command not found"),
        ("none", "tool `none` has no probe"),
    ];
    for (tool, words) in unknown {
        let Settlement::Unknown { why } = bench.probe(tool, json!({})) else {
            panic!("row: {tool}")
        };
        assert!(why.starts_with(words), "row: {tool}: {why}");
    }
}

fn http_tool(url: &str) -> String {
    format!(
        "  get: {{http: {{url: '{url}'}}, timeout: 2s}}\n  put: {{http: {{method: POST, url: '{url}'}}, timeout: 500ms}}\n"
    )
}

#[test]
fn a_request_is_rendered_and_its_secrets_are_not_shown() {
    let server = Server::start(vec![Reply::Answer(
        201,
        vec![
            ("X-Echo", SECRET.into()),
            ("Set-Cookie", "session=1".into()),
            ("X-Two", "a".into()),
            ("X-Two", "b".into()),
        ],
        format!("{{\"id\": 7, \"token\": \"{SECRET}\"}}").into_bytes(),
    )]);
    let url = server
        .url("/orders/{id}?note={note}")
        .replace("http://", "http://user:fake-pass@");
    let tools = format!(
        "  order:\n    http:\n      method: POST\n      url: '{url}'\n      headers: {{Authorization: 'Bearer {{env.SERVICE_TOKEN}}'}}\n      \
         body: {{template: {{order: '{{id}}', note: 'for {{note}}'}}}}\n    native_key: {{header: Idempotency-Key}}\n"
    );
    let bench = Bench::new(&tools);
    let tried = bench.try_once("order", json!({"id": 7, "note": "a/b&c"}));
    let received = &server.received()[0];
    assert_eq!(received.line, "POST /orders/7?note=a%2Fb%26c HTTP/1.1");
    assert_eq!(received.header("idempotency-key"), Some("order:7"));
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(
        received
            .header("authorization")
            .map(|value| value.ends_with(SECRET)),
        Some(true)
    );
    assert_eq!(received.body, "{\"note\":\"for a/b&c\",\"order\":7}");

    assert_eq!(
        (tried.delivery, class(&tried)),
        (Delivery::Answered, Class::Success)
    );
    assert_eq!(tried.json, Some(json!({"id": 7, "token": "***"})));
    let result = &tried.observation.result;
    assert_eq!(
        (&result["status"], &result["body"]["id"]),
        (&json!(201), &json!(7))
    );
    assert_eq!(result["headers"]["x-echo"], "***");
    assert_eq!(result["headers"]["set-cookie"], "***");
    assert_eq!(result["headers"]["x-two"], "a, b");
    let shown = format!("http://{}/orders/7?note=a%2Fb%26c", server.address());
    assert_eq!(
        tried.observation.context["request"],
        json!({"method": "POST", "url": shown})
    );
    let all = format!("{tried:?}");
    assert!(!all.contains(SECRET) && !all.contains("fake-pass"), "{all}");
}

#[test]
fn answers_table() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":";
    let failing = "HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nbroken";
    use Delivery::{Answered, Unknown};
    #[rustfmt::skip]
    let rows = vec![
        ("an error with its body", Reply::json(422, "{\"error\":\"amount\"}"), Answered, 422, "HTTP 422 Unprocessable Entity\n{\"error\":\"amount\"}", Class::Semantic),
        ("an error without a body", Reply::Answer(404, vec![], vec![]), Answered, 404, "HTTP 404 Not Found", Class::Semantic),
        ("a rate limit", Reply::Answer(429, vec![("Retry-After", "3".into())], b"slow down".to_vec()), Answered, 429, "HTTP 429 Too Many Requests\nslow down", Class::Transient),
        ("a gateway does not know", Reply::Answer(504, vec![], vec![]), Unknown, 504, "HTTP 504 Gateway Timeout", Class::Transient),
        ("garbage", Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), Unknown, 0, "no answer from ADDRESS: ", Class::Transient),
        ("closed without a word", Reply::Raw(vec![]), Unknown, 0, "no answer from ADDRESS: ", Class::Transient),
        ("reset without a word", Reply::RawThenReset(vec![]), Unknown, 0, "no answer from ADDRESS: ", Class::Transient),
        ("silence", Reply::RawThenSilence(vec![]), Unknown, 0, "no answer from ADDRESS: request timed out after 500 ms", Class::Transient),
        ("cut in the middle", Reply::Raw(partial.into()), Unknown, 0, "the answer of ADDRESS (HTTP 200) was cut after 8 bytes: ", Class::Transient),
        ("reset in the middle", Reply::RawThenReset(partial.into()), Unknown, 0, "the answer of ADDRESS (HTTP 200) was cut after ", Class::Transient),
        ("silence in the middle", Reply::RawThenSilence(partial.into()), Unknown, 0, "the answer of ADDRESS (HTTP 200) was cut after 8 bytes: request timed out", Class::Transient),
        ("an error that is cut is still one", Reply::Raw(failing.into()), Answered, 500, "HTTP 500 Internal Server Error\nbroken", Class::Transient),
    ];
    for (name, reply, delivery, status, text, want) in rows {
        let server = Server::start(vec![reply]);
        let bench = Bench::new(&http_tool(&server.url("/")));
        let tried = bench.try_once("put", json!({}));
        let text = text.replace("ADDRESS", &server.address());
        assert!(
            tried.content.text.starts_with(&text),
            "row: {name}: {}",
            tried.content.text
        );
        assert_eq!(tried.delivery, delivery, "row: {name}");
        assert_eq!(tried.observation.result["status"], status, "row: {name}");
        assert!(tried.content.is_error, "row: {name}");
        assert_eq!(class(&tried), want, "row: {name}: {}", tried.content.text);
        assert_eq!(
            server.received().len(),
            1,
            "row: {name}: nothing is repeated"
        );
    }
}

#[test]
fn what_never_left_is_known() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // A queue that is full: the kernel drops what asks to connect.
    let full = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    let patience = std::time::Duration::from_millis(50);
    let waiting: Vec<_> = (0..4)
        .map(|_| std::net::TcpStream::connect_timeout(&address, patience))
        .collect();
    assert!(waiting.iter().any(Result::is_err), "the queue is not full");
    let no_tls = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = no_tls.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = no_tls.accept().unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        // Read to the end, so that what we wrote is not cut by a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    #[rustfmt::skip]
    let rows = [
        ("refused", format!("http://{unused}/"), "refused", Class::Transient),
        ("no name", "http://agentguard.invalid/".to_owned(), "agentguard.invalid: ", Class::Transient),
        ("no connection in time", format!("http://{address}/"), "connection timed out", Class::Transient),
        ("no TLS", format!("https://{plain}/"), "cannot connect", Class::Persistent),
    ];
    for (name, url, words, want) in &rows {
        let bench = Bench::new(&http_tool(url));
        let tried = bench.try_once("put", json!({}));
        assert_eq!(class(&tried), *want, "row: {name}: {}", tried.content.text);
        assert_eq!(
            tried.delivery,
            Delivery::NeverSent,
            "row: {name}: {}",
            tried.content.text
        );
        assert!(
            tried.content.text.contains(words),
            "row: {name}: {}",
            tried.content.text
        );
        assert_eq!(tried.observation.result["status"], 0, "row: {name}");
    }
    drop(waiting);
}

#[test]
fn bodies_of_any_kind_are_bounded() {
    let image = b"\x89PNG\r\n\x1a\n\0\0\xff".to_vec();
    let replies = vec![
        Reply::Flood(100 << 20),
        Reply::Flood(3 << 20),
        Reply::Answer(
            200,
            vec![("Content-Type", "image/png".into())],
            image.clone(),
        ),
        Reply::Answer(
            200,
            vec![("Content-Type", "text/plain; charset=latin1".into())],
            b"Z\xfcrich".to_vec(),
        ),
        Reply::Answer(204, vec![], vec![]),
    ];
    let server = Server::start(replies);
    let bench = Bench::new(&format!(
        "  get: {{http: {{url: '{}'}}, timeout: 60s}}\n",
        server.url("/")
    ));
    let get = || bench.try_once("get", json!({}));

    let tried = get();
    assert_eq!(tried.delivery, Delivery::Answered);
    assert!(tried.content.truncated && tried.content.text.len() < TEXT_BYTES_MAX + 300);
    assert!(tried.content.text.ends_with("that was not read]"));
    assert_eq!(
        fs::metadata(tried.content.path.unwrap()).unwrap().len(),
        64 << 20
    );

    let tried = get();
    assert!(tried.content.truncated && tried.json.is_none());
    assert_eq!(
        fs::metadata(tried.content.path.unwrap()).unwrap().len(),
        3 << 20
    );

    let tried = get();
    let path = tried.content.path.unwrap();
    assert_eq!(
        tried.content.text,
        format!("[11 bytes of image/png, in {path}]")
    );
    assert_eq!(fs::read(path).unwrap(), image);

    assert_eq!(get().content.text, "Z\u{fffd}rich");
    let tried = get();
    assert_eq!(
        (
            tried.content.text.as_str(),
            tried.content.path.clone(),
            class(&tried)
        ),
        ("", None, Class::Success)
    );
}

#[test]
fn redirects_are_followed_where_they_mean_no_harm() {
    let to = |status, place: &str| Reply::Answer(status, vec![("Location", place.into())], vec![]);
    let server = Server::start(vec![
        to(302, "/two"),
        Reply::json(200, "{}"),
        to(302, "/two"),
        to(303, "/done"),
        Reply::json(200, "{\"done\": true}"),
        to(302, "http://other.test/"),
    ]);
    let bench = Bench::new(&http_tool(&server.url("/")));
    assert_eq!(bench.try_once("get", json!({})).content.text, "{}");
    let tried = bench.try_once("put", json!({}));
    assert_eq!(
        tried.content.text,
        "HTTP 302 Found: redirects to /two, which was not followed: \
         a write would become a GET; correct the URL in the task file"
    );
    assert!(tried.content.is_error && tried.delivery == Delivery::Answered);
    assert_eq!(class(&tried), Class::Semantic);
    assert_eq!(
        bench.try_once("put", json!({})).content.text,
        "{\"done\": true}"
    );
    assert!(
        bench
            .try_once("get", json!({}))
            .content
            .text
            .contains("another site")
    );
    let lines: Vec<String> = server
        .received()
        .into_iter()
        .map(|request| request.line)
        .collect();
    assert_eq!(
        lines[3..],
        ["POST / HTTP/1.1", "GET /done HTTP/1.1", "GET / HTTP/1.1"]
    );
}

#[test]
fn too_many_redirects_end() {
    let again = || Reply::Answer(302, vec![("Location", "/again".into())], vec![]);
    let server = Server::start((0..10).map(|_| again()).collect());
    let bench = Bench::new(&http_tool(&server.url("/")));
    let tried = bench.try_once("get", json!({}));
    assert!(
        tried.content.text.contains("too many redirects"),
        "{}",
        tried.content.text
    );
    assert_eq!(server.received().len(), 6);
}

#[test]
fn proxies_come_from_the_environment_of_the_tools_and_never_for_loopback() {
    let proxy = Server::start(vec![Reply::json(200, "{\"by\": \"proxy\"}")]);
    let direct = Server::start(vec![Reply::json(200, "{\"by\": \"server\"}")]);
    let tools = format!(
        "  away: {{http: {{url: 'http://api.test/x'}}}}\n  home: {{http: {{url: '{}'}}}}\n",
        direct.url("/")
    );
    let bench = Bench::with_env(&tools, &[("http_proxy", &proxy.url("/"))]);
    assert_eq!(
        bench.try_once("away", json!({})).json,
        Some(json!({"by": "proxy"}))
    );
    assert_eq!(
        bench.try_once("home", json!({})).json,
        Some(json!({"by": "server"}))
    );
    assert_eq!(proxy.received()[0].line, "GET http://api.test/x HTTP/1.1");
}

#[test]
fn a_tool_nobody_declared_is_a_result_too() {
    let bench = Bench::new("  a: {command: ['true']}\n");
    let tried = bench.try_once("b", json!({}));
    assert_eq!(
        (tried.delivery, class(&tried)),
        (Delivery::NeverSent, Class::Persistent)
    );
}

#[test]
fn a_tool_that_leaves_a_server_behind_has_answered() {
    // The server holds stdout open; the command itself has ended.
    let tools =
        "  start: {command: [sh, -c, 'sleep 1000 & echo started'], stdin: none, timeout: 20s}\n";
    let bench = Bench::new(tools);
    let tried = bench.try_once("start", json!({}));
    assert_eq!(
        (tried.content.text.as_str(), tried.delivery),
        ("started\n", Delivery::Answered)
    );
}

#[test]
fn arguments_too_long_for_the_kernel_are_the_models_to_correct() {
    let bench = Bench::new("  say: {command: [echo, '{text}'], stdin: none}\n");
    let tried = bench.try_once("say", json!({"text": "x".repeat(8 << 20)}));
    assert_eq!(
        (tried.delivery, class(&tried)),
        (Delivery::NeverSent, Class::Semantic),
        "{}",
        tried.content.text
    );
}

#[test]
fn a_folder_that_is_gone_is_a_result_and_no_panic() {
    let bench =
        Bench::new("  a: {command: ['true']}\n  get: {http: {url: 'http://127.0.0.1:9/'}}\n");
    fs::remove_dir_all(bench.folder.join("calls")).unwrap();
    let tried = bench.try_once("a", json!({}));
    assert_eq!(tried.delivery, Delivery::NeverSent);
    assert!(
        tried.content.text.contains("cannot write the output"),
        "{}",
        tried.content.text
    );
}

#[test]
fn a_toolbox_can_be_shared_between_tasks() {
    fn shared<T: Send + Sync>() {}
    shared::<Toolbox>();
}
