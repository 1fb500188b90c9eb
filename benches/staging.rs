//! Staging and committing a tree of 10,000 files, against `cp -a` of the same tree.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use agentguard::staging::Halt;
use agentguard::staging::commit::{Checked, carry_out, check, clean};
use agentguard::staging::stage::{Asked, Method, Stage};

const FILES: usize = 10_000;
const ROUNDS: usize = 7;

fn main() {
    let root = std::env::temp_dir().join(format!("agentguard-bench-{}", std::process::id()));
    let target = root.join("app");
    for number in 0..FILES {
        let folder = target.join(format!("{:02}/{:02}", number % 40, number % 7));
        fs::create_dir_all(&folder).unwrap();
        let text = format!("line {number}\n").repeat(40 + number % 400);
        fs::write(folder.join(format!("{number}.txt")), text).unwrap();
    }
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    let mut note = |name, ms| match rows.iter_mut().find(|(known, _)| *known == name) {
        Some((_, all)) => all.push(ms),
        None => rows.push((name, vec![ms])),
    };
    for round in 0..ROUNDS {
        note("floor: cp -a", timed(|| copy(&target, &root.join("copy"))));
        fs::remove_dir_all(root.join("copy")).unwrap();
        for method in [Method::Exchange, Method::Files] {
            let (stage_name, check_name, name) = match method {
                Method::Exchange => ("stage", "look (nothing hashed again)", "exchange"),
                Method::Files => ("stage", "look, 100 files made ready", "100 files moved"),
            };
            let run = root.join(format!("run-{round}"));
            let asked = asked(&target, method);
            let mut stage = None;
            note(stage_name, timed(|| stage = Some(make(&asked, &run))));
            let stage = stage.unwrap();
            for number in 0..100 {
                let folder = format!("{:02}/{:02}", number % 40, number % 7);
                let path = stage.tree.join(folder).join(format!("{number}.txt"));
                fs::write(path, format!("round {round} {method:?}")).unwrap();
            }
            let mut checked = None;
            note(
                check_name,
                timed(|| checked = Some(check(&stage, &Halt::default()).unwrap())),
            );
            let Some(Checked::Ready(ready)) = checked else {
                panic!("there is a change")
            };
            note(
                name,
                timed(|| {
                    carry_out(&stage, Some(&ready), &|_| {}).unwrap();
                }),
            );
            clean(&run).unwrap();
        }
    }
    for (name, mut all) in rows {
        all.sort_by(f64::total_cmp);
        println!(
            "{name:<32} p50 {:8.1} ms   min {:8.1} ms",
            all[all.len() / 2],
            all[0]
        );
    }
    fs::remove_dir_all(&root).unwrap();
}

fn asked(target: &Path, method: Method) -> Asked {
    Asked {
        target: target.to_owned(),
        exclude: vec![],
        ours: vec![],
        method: Some(method),
        run: "r-bench".into(),
        git: false,
    }
}

fn make(asked: &Asked, run: &Path) -> Stage {
    Stage::make(asked, run, &Halt::default(), &|_| {})
        .unwrap()
        .0
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() * 1000.0
}
