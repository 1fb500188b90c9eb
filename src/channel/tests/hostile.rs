//! Peers that do what they should not. Each gets a clear error or waits; memory
//! stays bounded and the others are served.

use super::*;
use crate::channel::SOCKET_ENV;

/// Small bounds, so that they are reached soon.
fn tight() -> Limits {
    Limits {
        line_bytes_max: 4096,
        small_line_bytes: 1024,
        in_flight_max: 4,
        connections_max: 3,
        garbage_in_a_row_max: 10,
        unread_bytes_max: 2048,
        arrivals_max: 2,
        ..Limits::default()
    }
}

#[tokio::test]
async fn every_kind_of_garbage_has_its_code_and_the_connection_lives() {
    let driver = Bench::new(Limits::default()).answer_turns();
    let mut peer = Peer::connect(&driver.path).await;
    let deep = "[".repeat(200) + "\n";
    #[rustfmt::skip]
    let rows: [(&str, &[u8], i64); 9] = [
        ("not JSON",             b"hello\n",                        -32700),
        ("half of an object",    b"{\"jsonrpc\":\n",                -32700),
        ("a zero byte",          b"{\"jsonrpc\":\0}\n",             -32700),
        ("not UTF-8",            b"{\"a\":\"\xff\"}\n",             -32700),
        ("a batch",              b"[]\n",                           -32600),
        ("a number",             b"42\n",                           -32600),
        ("an empty object",      b"{}\n",                           -32600),
        ("a response",           b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":1}\n", -32600),
        ("nested too deep",      deep.as_bytes(),                   -32005),
    ];
    for (name, bytes, code) in rows {
        peer.write(bytes).await;
        assert_eq!(peer.code().await, code, "row: {name}");
    }
    peer.write("\r\n\n  \n").await;
    peer.write(turn_line(3).replace('\n', "\r\n")).await;
    assert_eq!(peer.code().await, 0, "a turn after all that");
}

#[tokio::test]
async fn a_line_of_100_mb_is_skipped_in_bounded_memory() {
    let driver = Bench::new(Limits::default()).answer_turns();
    let mut peer = Peer::connect(&driver.path).await;
    let before = peak_memory_kib();
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        peer.write(&piece).await;
    }
    peer.write("\n".to_owned() + &turn_line(1)).await;
    assert_eq!(peer.code().await, -32001);
    assert_eq!(peer.code().await, 0, "the connection lives");
    if let (Some(before), Some(after)) = (before, peak_memory_kib()) {
        // One line up to its bound of 16 MiB, in a buffer that doubles; other
        // tests of this process may add to it.
        assert!(
            after - before < 80 * 1024,
            "{} KiB more at the peak",
            after - before
        );
    }
}

/// Returns the largest resident memory of this process so far, on Linux.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[tokio::test]
async fn large_lines_take_turns_and_one_too_many_is_refused() {
    let limits = Limits {
        large_lines_max: 1,
        large_line_wait: Duration::from_millis(1),
        ..tight()
    };
    let mut bench = Bench::new(limits);
    let large = |id: u64| {
        let pad = " ".repeat(2000);
        turn_line(id).replace("{\"step\"", &format!("{{{pad}\"step\""))
    };
    let (mut one, mut two) = (bench.peer().await, bench.peer().await);
    one.write(large(1)).await;
    let held = bench.request().await;
    two.write(large(2) + &turn_line(3)).await;
    assert_eq!(
        two.code().await,
        -32002,
        "no room while the first is carried out"
    );
    let small = bench.request().await;
    assert_eq!(step_of(&small.call), 3, "a small line passes");
    bench.answers.send(held.request, Ok(go(1)));
    assert_eq!(one.code().await, 0);
    two.write(large(4)).await;
    assert_eq!(
        step_of(&bench.request().await.call),
        4,
        "its room was given back"
    );
}

#[tokio::test]
async fn a_flood_of_100_000_requests_is_answered_whole() {
    const COUNT: u64 = 100_000;
    let driver = Bench::new(Limits::default()).answer_turns();
    let Peer {
        mut reader,
        mut writer,
    } = Peer::connect(&driver.path).await;
    let writing = tokio::spawn(async move {
        for first in (1..=COUNT).step_by(1000) {
            let lines: String = (first..first + 1000).map(turn_line).collect();
            writer.write_all(lines.as_bytes()).await.unwrap();
        }
        writer
    });
    let mut line = String::new();
    for _ in 0..COUNT {
        line.clear();
        soon(reader.read_line(&mut line)).await.unwrap();
        assert!(line.contains("\"result\""), "{line}");
    }
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn a_peer_that_never_reads_is_no_longer_read_and_the_others_are_served() {
    let mut bench = Bench::new(tight());
    let mut silent = bench.peer().await;
    let lines: String = (1..=1000).map(turn_line).collect();
    silent.write(lines).await;
    // The driver answers nothing: no more than the bound is taken.
    let mut taken = vec![];
    for _ in 0..4 {
        taken.push(bench.request().await);
    }
    let mut other = bench.peer().await;
    other.write(turn_line(7)).await;
    let incoming = bench.request().await;
    assert_ne!(
        incoming.connection, taken[0].connection,
        "a fifth of the first would be one too many"
    );
    bench.answers.send(incoming.request, Ok(go(7)));
    assert_eq!(other.code().await, 0);
    // Each answer makes room for one more.
    bench.answers.send(taken[0].request, Ok(go(1)));
    assert_eq!(bench.request().await.connection, taken[0].connection);
}

#[tokio::test]
async fn an_answer_without_room_becomes_an_error_that_says_so() {
    let (hub, mut arrivals) = super::super::open(tight());
    let (mut child_out, our_in) = tokio::io::duplex(1024);
    // The child's stdin takes ten bytes and then blocks.
    let (our_out, child_in) = tokio::io::duplex(10);
    let _stdio = super::super::stdio::Stdio::attach(&hub, our_in, our_out, None, |_: &[u8]| {});
    child_out
        .write_all((turn_line(1) + &turn_line(2)).as_bytes())
        .await
        .unwrap();
    let big = || match go(1) {
        Answer::Turn(turn) => Answer::Turn(TurnAnswer {
            warnings: vec!["w".repeat(1500)],
            ..turn
        }),
        other => other,
    };
    let mut answered = 0;
    while answered < 2 {
        if let Arrival::Request(incoming) = soon(arrivals.recv()).await.unwrap() {
            hub.answers().send(incoming.request, Ok(big()));
            answered += 1;
        }
    }
    let mut child_in = BufReader::new(child_in);
    let mut lines = vec![];
    for _ in 0..2 {
        let mut line = String::new();
        soon(child_in.read_line(&mut line)).await.unwrap();
        lines.push(serde_json::from_str::<serde_json::Value>(&line).unwrap());
    }
    assert_eq!(lines[0]["id"], 1);
    assert!(lines[0].get("result").is_some());
    assert_eq!(lines[1]["error"]["code"], -32002);
    assert_eq!(lines[1]["id"], 2);
}

#[tokio::test]
async fn one_connection_too_many_is_told_and_a_place_is_given_back() {
    let mut bench = Bench::new(Limits::default());
    let mut peers = vec![];
    for _ in 0..64 {
        peers.push(bench.peer().await);
    }
    for _ in 0..10 {
        let mut extra = bench.peer().await;
        assert_eq!(extra.code().await, -32006);
        assert_eq!(extra.read().await, None, "and closed");
    }
    drop(peers.pop());
    assert_eq!(bench.ended().await, (Ended::ByPeer, 0));
    // The place is free right after the notice, not before it.
    loop {
        let mut peer = bench.peer().await;
        peer.write(turn_line(1)).await;
        let taken = tokio::select! {
            incoming = bench.request() => Some(incoming),
            code = peer.code() => { assert_eq!(code, -32006); None }
        };
        if let Some(incoming) = taken {
            bench.answers.send(incoming.request, Ok(go(1)));
            assert_eq!(peer.code().await, 0);
            break;
        }
    }
}

#[tokio::test]
async fn a_half_line_at_the_end_is_told_and_not_carried_out() {
    let mut bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    peer.write(turn_line(1).trim_end()).await;
    peer.writer.shutdown().await.unwrap();
    assert_eq!(peer.code().await, -32700);
    assert_eq!(peer.read().await, None);
    assert_eq!(bench.ended().await, (Ended::ByPeer, 0));
    assert_eq!(bench.answers.open_count(), 0);
}

#[tokio::test]
async fn a_peer_that_goes_in_the_middle_of_a_frame_leaves_nothing_behind() {
    let mut bench = Bench::new(Limits::default());
    for _ in 0..20 {
        let mut peer = bench.peer().await;
        peer.write(&turn_line(1).as_bytes()[..20]).await;
        drop(peer);
        bench.ended().await;
    }
    assert_eq!(bench.answers.open_count(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_peer_killed_while_it_waits_gives_its_place_back_without_an_answer() {
    let mut bench = Bench::new(tight());
    let mut peer = bench.peer().await;
    peer.write(turn_line(1)).await;
    let incoming = bench.request().await;
    drop(peer);
    assert_eq!(bench.ended().await, (Ended::ByPeer, 1));
    bench.answers.send(incoming.request, Ok(go(1)));
}

#[tokio::test]
async fn a_silent_peer_disturbs_nobody() {
    let driver = Bench::new(tight()).answer_turns();
    let _silent = Peer::connect(&driver.path).await;
    let mut other = Peer::connect(&driver.path).await;
    other.write(turn_line(1)).await;
    assert_eq!(other.code().await, 0);
}

#[tokio::test]
async fn garbage_without_end_closes_the_connection_with_the_reason() {
    let mut bench = Bench::new(tight());
    let mut peer = bench.peer().await;
    peer.write("garbage\n".repeat(9) + &turn_line(1) + &"garbage\n".repeat(10))
        .await;
    let incoming = bench.request().await;
    bench.answers.send(incoming.request, Ok(go(1)));
    let mut codes = vec![];
    while let Some(frame) = peer.read().await {
        codes.push(frame["error"]["code"].as_i64().unwrap_or(0));
    }
    assert_eq!(
        codes.iter().filter(|code| **code == 0).count(),
        1,
        "a request in between starts the count anew"
    );
    assert_eq!(codes.iter().filter(|code| **code == -32700).count(), 19);
    assert_eq!(codes.iter().filter(|code| **code == -32007).count(), 1);
    assert_eq!(bench.ended().await, (Ended::Garbage, 0));
}

#[tokio::test]
async fn a_driver_that_has_gone_is_an_error_and_not_a_silence() {
    let bench = Bench::new(Limits::default());
    let mut peer = bench.peer().await;
    drop(bench.arrivals);
    peer.write(turn_line(1)).await;
    assert_eq!(peer.code().await, -32603);
    assert_eq!(SOCKET_ENV, "AGENTGUARD_SOCKET");
}
