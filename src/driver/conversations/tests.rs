use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::conversation::extend;

/// An agent: its ids, its system prompt, and whether it offers tools.
#[derive(Clone, Copy)]
struct Agent(Option<&'static str>, &'static str, bool);

const PLAIN: Agent = Agent(None, "", false);
const CODER: Agent = Agent(None, "coder", true);
const TITLE: Agent = Agent(None, "title", false);
const MAIN: Agent = Agent(Some("s1"), "coder", true);
const HELPER: Agent = Agent(Some("s1 a1"), "helper", true);

#[derive(Default)]
struct World {
    all: Conversations,
    under_way: Vec<Arc<()>>,
}

impl World {
    fn new() -> Self {
        Self {
            all: Conversations {
                next: ConversationNo::FIRST,
                next_ticket: 1,
                ..Conversations::default()
            },
            ..Self::default()
        }
    }

    /// A call of these words; those of the model begin with a capital letter, those of
    /// the operator with `@`, and `~` means nothing.
    fn call(&mut self, agent: Agent, words: &str) -> (Placed, Vec<String>) {
        let Agent(ids, system, offers_tools) = agent;
        let words: Vec<&str> = words.split(' ').collect();
        let speaker = |word: &str| match word.chars().next() {
            Some('@') => Speaker::Operator,
            Some(first) if first.is_uppercase() => Speaker::Model,
            _ => Speaker::Other,
        };
        let mut messages = Heard::default();
        for word in &words {
            messages.push(meaning(word), speaker(word));
        }
        let life = Arc::new(());
        let first = words
            .iter()
            .take_while(|word| speaker(word) != Speaker::Model);
        let caller = Caller {
            api: "messages".to_owned(),
            ids: ids.map(str::to_owned),
            system: system.to_owned(),
            tools: format!("{offers_tools}"),
            offers_tools,
            messages,
            lines: first.flat_map(|word| lines(word)).collect(),
            pulse: Pulse::of(&life),
            ..Caller::default()
        };
        self.under_way.push(life);
        let placed = self.all.place(caller);
        let behind = words[placed.from..].iter().map(|word| (*word).to_owned());
        (placed.clone(), behind.collect())
    }

    /// The call is answered; says where it went.
    fn answer(&mut self, call: (Placed, Vec<String>), answer: &str) -> String {
        let (placed, mut bodies) = call;
        let base = self.all.base(placed.ticket).expect("it is under way");
        let parent = self.all.open[&placed.ticket].place.parent;
        bodies.push(answer.to_owned());
        let (_, messages) = extend(base.head, &bodies);
        let wire = Wire {
            meanings: vec![meaning(answer)],
            lines: lines(answer),
            ..Wire::default()
        };
        self.all.moved(placed.ticket, &messages, wire);
        let mut text = base.conversation.to_string();
        if let Some(parent) = parent {
            text.push_str(&format!(" of {parent}"));
        }
        match base.back_to {
            Some(kept) if base.rewritten => text.push_str(&format!(" rewritten at {kept}")),
            Some(kept) => text.push_str(&format!(" back to {kept}")),
            None => {}
        }
        text
    }

    fn turn(&mut self, agent: Agent, words: &str, answer: &str) -> String {
        let call = self.call(agent, words);
        self.answer(call, answer)
    }
}

fn meaning(word: &str) -> Option<Digest> {
    (word != "~").then(|| Digest(Sha256::digest(word).into()))
}

/// Words that a `+` joins can be quoted.
fn lines(word: &str) -> Vec<u64> {
    let words = word.split('+').filter(|word| word.len() > 3);
    words
        .map(|word| u64::from_le_bytes(Sha256::digest(word)[..8].try_into().expect("8")))
        .collect()
}

#[test]
fn turns_one_after_the_other() {
    type Turn = (Agent, &'static str, &'static str, &'static str);
    #[rustfmt::skip]
    let rows: &[(&str, &[Turn])] = &[
        ("a history that grows is one conversation", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read r1", "Edit", "1"),
            (CODER, "fix Read r1 Edit r2", "Done", "1"),
        ]),
        ("a title before, without tools, is its own", &[
            (TITLE, "name+it", "Fix", "1"),
            (CODER, "fix", "Read", "2"),
            (CODER, "fix Read r1", "Done", "2"),
        ]),
        ("so is one in between, with the whole history", &[
            (CODER, "fix", "Read", "1"),
            (TITLE, "fix Read title", "Fix", "2 of 1"),
            (CODER, "fix Read r1", "Done", "1"),
        ]),
        ("other tasks are other conversations", &[
            (PLAIN, "one", "A", "1"),
            (PLAIN, "two", "B", "2"),
            (PLAIN, "one A more", "C", "1"),
        ]),
        ("a beginning without an answer is not yet one conversation", &[
            (CODER, "rules one", "A", "1"),
            (CODER, "rules two", "B", "2"),
            (CODER, "rules one A r", "C", "1"),
            (CODER, "rules two B r", "D", "2"),
        ]),
        ("who goes back and asks otherwise branches", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read r1", "Edit", "1"),
            (CODER, "fix Read r2", "Test", "1 back to 2"),
            (CODER, "fix Read r2 Test r3", "Done", "1"),
        ]),
        ("and may come back to where it was", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read r1", "Edit", "1"),
            (CODER, "fix Read r2", "Test", "1 back to 2"),
            (CODER, "fix Read r1 Edit r4", "Done", "1 back to 4"),
        ]),
        ("the same asked again is a branch", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix", "Edit", "1 back to 1"),
        ]),
        ("a summary that quotes the answer is a new base", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read sumup", "Sofar+all+good", "1"),
            (CODER, "we+had+good+go", "Next", "1 rewritten at 0"),
            (CODER, "we+had+good+go Next r", "Done", "1"),
        ]),
        ("so is one that was made beside", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read r1", "Edit", "1"),
            (TITLE, "fix Read r1 Edit sumup", "Sofar+all+good", "2 of 1"),
            (CODER, "we+had+good+go", "Next", "1 rewritten at 0"),
        ]),
        ("and one that keeps the last messages", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read r1", "Edit", "1"),
            (CODER, "short Edit r2", "Test", "1 rewritten at 0"),
        ]),
        ("old messages that change are no new base", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Read r1", "Edit", "1"),
            (CODER, "fix Read r1 Edit r2", "Test", "1"),
            (CODER, "fix Read cleared Edit r2 Test r3", "Done", "1"),
        ]),
        ("what operators put in and clients drop has no place", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "@now fix Read ~ r1", "Edit", "1"),
            (CODER, "fix Read @then r1 Edit r2", "Done", "1"),
        ]),
        ("an answer in other words", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Reading r1", "Edit", "1"),
            (CODER, "fix Reading r1 Edit r2", "Done", "1"),
        ]),
        ("answers that are always in other words", &[
            (CODER, "fix", "Read", "1"),
            (CODER, "fix Reading r1", "Edit", "1"),
            (CODER, "fix Reading r1 Editing r2", "Test", "1"),
            (CODER, "fix Reading r1 Editing r2 Testing Too r3", "Done", "1"),
            (CODER, "fix Reading r1 Editing r2 Testing Too r3 Done and", "So", "1"),
        ]),
        ("ids tell agents apart", &[
            (MAIN, "fix", "Call", "1"),
            (HELPER, "fix", "Read", "2"),
            (HELPER, "fix Read r", "Done", "2"),
            (MAIN, "fix Call r", "Done", "1"),
        ]),
        ("under the same id a new history is a new base", &[
            (MAIN, "fix", "Read", "1"),
            (MAIN, "summary", "Edit", "1 rewritten at 0"),
        ]),
        ("another system prompt, the same tools: another agent", &[
            (CODER, "fix", "Call", "1"),
            (Agent(None, "helper", true), "look", "Read", "2"),
            (CODER, "fix Call found", "Done", "1"),
        ]),
    ];
    for (name, turns) in rows {
        let mut world = World::new();
        for (agent, words, answer, want) in *turns {
            assert_eq!(
                &world.turn(*agent, words, answer),
                want,
                "row: {name}: {words}"
            );
        }
    }
}

#[test]
fn at_once_they_are_many() {
    let mut world = World::new();
    world.turn(CODER, "fix", "Call");
    let calls: Vec<_> = ["fix Call a", "fix Call b", "fix Call c"]
        .iter()
        .map(|words| world.call(CODER, words))
        .collect();
    let went: Vec<_> = calls
        .into_iter()
        .map(|call| world.answer(call, "Read"))
        .collect();
    assert_eq!(went, ["1", "2 of 1", "3 of 1"], "a busy one forks");
    assert_eq!(world.turn(CODER, "fix Call b Read r", "Done"), "2");
    assert_eq!(world.turn(CODER, "fix Call a Read r", "Done"), "1");
}

#[test]
fn the_same_call_again_while_it_is_under_way_is_the_same_conversation() {
    let mut world = World::new();
    world.turn(CODER, "fix", "Call");
    let first = world.call(CODER, "fix Call r");
    let again = world.call(CODER, "fix Call r");
    assert_eq!(again.0.conversation, first.0.conversation);
    assert_eq!((first.0.new, again.0.new), (vec![2], vec![]), "told once");
}

#[test]
fn a_call_that_nobody_waits_for_is_not_in_the_way() {
    let mut world = World::new();
    world.turn(CODER, "fix", "Call");
    world.call(CODER, "fix Call r");
    world.under_way.clear();
    assert_eq!(world.turn(CODER, "fix Call other", "Done"), "1");
}

#[test]
fn a_first_call_that_came_to_nothing_is_asked_again() {
    let mut world = World::new();
    world.call(CODER, "fix");
    world.under_way.clear();
    assert_eq!(world.turn(CODER, "fix it", "Read"), "1");
}

#[test]
fn results_are_told_once_and_of_a_summary_only_what_is_new() {
    let mut world = World::new();
    world.turn(CODER, "fix", "Read");
    let call = world.call(CODER, "fix Read r1");
    assert_eq!(call.0.new, [2]);
    world.answer(call, "Edit");
    let call = world.call(CODER, "fix Read r1 Edit r2");
    assert_eq!(call.0.new, [4]);
    world.answer(call, "Test");
    let call = world.call(CODER, "short r2 Test r3");
    assert_eq!(call.0.new, [0, 3]);
}

#[test]
fn many_conversations_are_not_remembered_for_ever() {
    let mut world = World::new();
    world.turn(CODER, "fix", "Call");
    for number in 0..LINES_MAX + 8 {
        world.turn(TITLE, &format!("name{number}"), "It");
        world.under_way.clear();
    }
    assert!(world.all.lines.len() <= LINES_MAX);
    assert_eq!(world.turn(CODER, "fix Call r", "Done"), "1");
}
