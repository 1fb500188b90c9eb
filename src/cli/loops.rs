//! `agentguard loops`

mod stored;

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use clap::Args;
use serde_json::Value;

use super::error::Failure;
use super::jsonl::{self, FileArg, Input, Unusable, plain};
use super::{Global, Result};
use crate::exit_code;
use crate::policy::loops::Config;
use crate::policy::loops::trace::{Answer, Trace, Verdict, judge_with};

/// Say whether a past run went in circles, at which call, and why
///
/// Reads traces and judges each as its run would have been judged, under the
/// default thresholds or those of --set; for whoever tunes thresholds. With
/// --json it reads one JSON object a line and prints one a line, in the same
/// order, each as soon as it is known. With --run it judges a run of the
/// journal instead, beginning with the thresholds of its own task file.
///
/// In:  {"id", "calls": [{"tool", "args", "result", "is_error"}, ...],
/// "resume_after"?: [n, ...]}. Out: {"id", "verdict": "loop"|"ok", "at_call",
/// "rung", "period"?, "first", "last", "why"}. Calls count from 1; "loop" means
/// that the run would have been stopped. After each count in "resume_after" the
/// detector is saved, dropped and restored, as by a resume.
///
/// A line that is no such object gets {"id", "error"} on its place, the rest is
/// judged all the same, and the exit code is 2. Otherwise it is 0, whatever the
/// verdicts are.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct LoopsArgs {
    #[command(flatten)]
    input: FileArg,
    /// Read and print JSON lines
    #[arg(long)]
    json: bool,
    /// Judge this run of the journal: its id, the start of it, or `latest`
    #[arg(long, value_name = "RUN", conflicts_with = "file")]
    run: Option<String>,
    /// Change a threshold; may be repeated
    ///
    /// The names are those of `loops.thresholds` in the task file, so that what
    /// works can be copied there: same_result, same_error, tool_error, cycle_2,
    /// cycle, recurrence_error, recurrence, density, stagnation, stagnation_text,
    /// reversal, self_append, polls, deaths; and `window` of `loops`.
    #[arg(long, value_name = "THRESHOLD=N", value_parser = setting)]
    set: Vec<Setting>,
}

const EXAMPLES: &str = r#"Examples:
  agentguard loops --run latest
  agentguard loops --run r-7f3a --set same_result=8 --set density=90
  agentguard loops --json traces.jsonl | jq -c 'select(.verdict == "loop")'"#;

const EXPECTED: &str =
    r#"pipe in a trace such as {"calls":[{"tool":"sh","args":{"cmd":"ls"},"result":"a.txt"}]}"#;

/// One `--set`.
#[derive(Clone, Debug)]
struct Setting {
    threshold: &'static Threshold,
    value: u32,
}

/// A threshold by its name in the task file.
#[derive(Debug)]
struct Threshold {
    name: &'static str,
    /// What the detector does not quietly pull to another value.
    range: RangeInclusive<u32>,
    field: fn(&mut Config) -> &mut u32,
}

const COUNT: RangeInclusive<u32> = 3..=1_000_000;

#[rustfmt::skip]
static THRESHOLDS: [Threshold; 15] = [
    Threshold { name: "same_result", range: COUNT, field: |it| &mut it.same_call },
    Threshold { name: "same_error", range: COUNT, field: |it| &mut it.same_call_error },
    Threshold { name: "tool_error", range: COUNT, field: |it| &mut it.same_error },
    Threshold { name: "cycle_2", range: COUNT, field: |it| &mut it.cycle_two_laps },
    Threshold { name: "cycle", range: COUNT, field: |it| &mut it.cycle_laps },
    Threshold { name: "recurrence_error", range: COUNT, field: |it| &mut it.recurrence_error },
    Threshold { name: "recurrence", range: COUNT, field: |it| &mut it.recurrence },
    Threshold { name: "density", range: 10..=100, field: |it| &mut it.density_percent },
    Threshold { name: "stagnation", range: COUNT, field: |it| &mut it.stagnation_near },
    Threshold { name: "stagnation_text", range: COUNT, field: |it| &mut it.stagnation_free },
    Threshold { name: "reversal", range: COUNT, field: |it| &mut it.returns },
    Threshold { name: "self_append", range: COUNT, field: |it| &mut it.growth },
    Threshold { name: "polls", range: COUNT, field: |it| &mut it.polls },
    Threshold { name: "deaths", range: 2..=1_000_000, field: |it| &mut it.deaths },
    Threshold { name: "window", range: 8..=1024, field: |it| &mut it.window },
];

/// Runs it.
pub fn main(global: &Global, args: LoopsArgs) -> Result {
    if let Some(run) = &args.run {
        let answer = stored::judge(global, run, |config| apply(config, &args.set))?;
        return print(&[answer], args.json);
    }
    let mut config = Config::default();
    apply(&mut config, &args.set);
    let input = Input::open(args.input.file.as_deref(), EXPECTED)?;
    if args.json {
        return input.answer(|value| Ok(judge_with(&read(value)?, &config)));
    }
    let mut answers = Vec::new();
    for (number, value) in input.values()?.into_iter().enumerate() {
        let trace = read(value).map_err(|it| {
            Failure::usage(format!("trace {}: {}", number + 1, it.why)).hint(EXPECTED)
        })?;
        answers.push(judge_with(&trace, &config));
    }
    print(&answers, false)
}

fn apply(config: &mut Config, settings: &[Setting]) {
    for Setting { threshold, value } in settings {
        *(threshold.field)(config) = *value;
    }
}

/// Reads `THRESHOLD=N`.
fn setting(text: &str) -> std::result::Result<Setting, String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("expected THRESHOLD=N, such as same_result=8")?;
    let Some(threshold) = THRESHOLDS.iter().find(|it| it.name == name) else {
        let known: Vec<_> = THRESHOLDS.iter().map(|it| it.name).collect();
        return Err(format!(
            "unknown threshold `{name}`, expected one of {}",
            known.join(", ")
        ));
    };
    let (least, most) = (threshold.range.start(), threshold.range.end());
    match value.trim_end_matches('%').parse() {
        Ok(value) if threshold.range.contains(&value) => Ok(Setting { threshold, value }),
        _ => Err(format!("`{value}` is not a number from {least} to {most}")),
    }
}

fn read(value: Value) -> std::result::Result<Trace, Unusable> {
    let Value::Object(mut fields) = value else {
        let why = format!("expected an object, found {}", jsonl::kind_of(&value));
        return Err(Unusable {
            id: Value::Null,
            why,
        });
    };
    let id = fields.get("id").cloned().unwrap_or_default();
    // Sets of traces from elsewhere list the tools' names here, or anything.
    if fields.get("tools").is_some_and(|tools| !tools.is_object()) {
        fields.remove("tools");
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| Unusable {
        id,
        why: error.to_string(),
    })
}

fn print(answers: &[Answer], json: bool) -> Result {
    let mut text = String::new();
    for answer in answers {
        if json {
            // An answer is plain data with text keys.
            text.push_str(&serde_json::to_string(answer).unwrap_or_default());
            text.push('\n');
        } else {
            explain(&mut text, answer);
        }
    }
    jsonl::print(&text)?;
    Ok(exit_code::DONE)
}

/// Writes an answer for a person.
fn explain(text: &mut String, answer: &Answer) {
    let name = match &answer.id {
        Value::Null => String::new(),
        Value::String(id) => format!("{}: ", plain(id)),
        id => format!("{id}: "),
    };
    // A String takes every write.
    let _ = match (answer.verdict, answer.at_call) {
        (Verdict::Loop, Some(at)) => writeln!(text, "{name}loop, stopped at call {at}"),
        _ => writeln!(text, "{name}no loop"),
    };
    if let (Some(rung), Some(first), Some(last)) = (answer.rung, answer.first, answer.last) {
        let lap = answer
            .period
            .map_or(String::new(), |period| format!(", {period} calls a lap"));
        let _ = writeln!(text, "  rung      {rung}{lap}");
        let _ = writeln!(text, "  evidence  calls {first} to {last}");
    }
    let _ = writeln!(text, "  why       {}", plain(&answer.why));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_table() {
        #[rustfmt::skip]
        let rows = [
            ("same_result=8", Ok(("same_result", 8))),
            ("density=90%", Ok(("density", 90))),
            ("same_result", Err("expected THRESHOLD=N, such as same_result=8")),
            ("same_result=2", Err("`2` is not a number from 3 to 1000000")),
            ("window=5000", Err("`5000` is not a number from 8 to 1024")),
            ("cycle=many", Err("`many` is not a number from 3 to 1000000")),
        ];
        for (text, want) in rows {
            let got = setting(text).map(|it| (it.threshold.name, it.value));
            assert_eq!(got, want.map_err(str::to_owned), "row: {text}");
        }
        assert!(
            setting("same=3")
                .unwrap_err()
                .contains("expected one of same_result,")
        );
    }

    #[test]
    fn every_threshold_of_the_task_file_can_be_set_and_is_named_in_the_help() {
        let schema = crate::task::schema::task();
        let mut written: Vec<&str> = schema["$defs"]["Thresholds"]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .chain(["window"])
            .collect();
        let mut known: Vec<&str> = THRESHOLDS.iter().map(|it| it.name).collect();
        written.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, written);
        let command = crate::cli::command();
        let loops = command.find_subcommand("loops").unwrap();
        let set = loops
            .get_arguments()
            .find(|it| it.get_id() == "set")
            .unwrap();
        let help = set.get_long_help().unwrap().to_string();
        for name in known {
            assert!(help.contains(name), "{name} is not in the help of --set");
        }
    }

    #[test]
    fn each_threshold_moves_a_field_of_its_own() {
        let mut config = Config::default();
        for (place, threshold) in THRESHOLDS.iter().enumerate() {
            *(threshold.field)(&mut config) = 1_000 + place as u32;
        }
        for (place, threshold) in THRESHOLDS.iter().enumerate() {
            assert_eq!(
                *(threshold.field)(&mut config),
                1_000 + place as u32,
                "{}",
                threshold.name
            );
        }
    }

    #[test]
    fn a_trace_from_elsewhere_may_list_its_tools() {
        let trace = serde_json::json!({"id": 1, "tools": ["a"], "calls": []});
        assert!(read(trace).is_ok());
        let error = read(serde_json::json!({"id": 1})).unwrap_err();
        assert_eq!(
            (error.id, error.why.as_str()),
            (Value::from(1), "missing field `calls`")
        );
    }
}
