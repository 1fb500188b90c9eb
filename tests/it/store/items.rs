//! What every store promises about the items of batches.

use agentguard::clock::UnixMs;
use agentguard::ids::{BatchNo, CallId};
use agentguard::store::{Draft, ItemEdit, ItemFilter, ItemNo, Memory, Store, StoredItem};

use super::contract::{House, OnDisk, on_every_store};
use super::support::{Scratch, event, new_run, run_id};

on_every_store! {
    an_item_has_one_row_in_a_run_and_keeps_its_number
    items_are_found_by_status_run_and_time_the_latest_first
    a_dropped_item_is_back_when_something_happens_to_it
    the_items_of_a_removed_run_go_with_it
}

/// An event at `at` that says where an item stands.
fn stands(number: u64, at: i64, item: &str, status: &str) -> Draft {
    let mut draft = event(number);
    draft.at = UnixMs(at);
    draft.items = vec![edit(item, status, at)];
    draft
}

fn edit(item: &str, status: &str, at: i64) -> ItemEdit {
    ItemEdit {
        batch: BatchNo(1),
        tool: "mail".into(),
        item: item.into(),
        call: CallId(1),
        status: status.into(),
        class: "semantic".into(),
        rule: "words.semantic".into(),
        why: "the input is wrong".into(),
        evidence: format!("no such address {item}"),
        attempts: 1,
        args: Some(format!("{{\"to\":\"{item}\"}}")),
        due: None,
        first_at: UnixMs(at),
    }
}

fn listed(store: &dyn Store, filter: &ItemFilter) -> Vec<StoredItem> {
    store.items(filter).unwrap()
}

fn names(items: &[StoredItem]) -> Vec<&str> {
    items.iter().map(|item| item.at.item.as_str()).collect()
}

fn an_item_has_one_row_in_a_run_and_keeps_its_number(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    let append = |draft| store.append(&own, draft).wait().unwrap();
    append(stands(1, 10, "a", "dead"));
    let first = listed(store.as_ref(), &ItemFilter::default());
    let mut again = stands(2, 20, "a", "succeeded");
    again.items[0].args = None;
    append(again);
    let mut other = stands(3, 30, "a", "dead");
    other.items[0].tool = "index".into();
    append(other);
    let now = listed(house.store().as_ref(), &ItemFilter::default());
    assert_eq!(now.len(), 2, "the same id of another tool is another item");
    let mail = now.iter().find(|item| item.at.tool == "mail").unwrap();
    assert_eq!(mail.no, first[0].no);
    assert_eq!(mail.at.status, "succeeded");
    assert_eq!(mail.at.args.as_deref(), Some("{\"to\":\"a\"}"), "kept");
    assert_eq!((mail.at.first_at, mail.last_at), (UnixMs(10), UnixMs(20)));
    assert_eq!(
        (&mail.run, mail.task.as_str()),
        (&run_id(1), &*first[0].task)
    );
}

fn items_are_found_by_status_run_and_time_the_latest_first(house: &dyn House) {
    let store = house.store();
    let one = store.create(new_run(1), event(0)).unwrap();
    let two = store.create(new_run(2), event(0)).unwrap();
    store
        .append(&one, stands(1, 10, "a", "dead"))
        .wait()
        .unwrap();
    store
        .append(&one, stands(2, 20, "b", "queued"))
        .wait()
        .unwrap();
    store
        .append(&two, stands(1, 30, "c", "dead"))
        .wait()
        .unwrap();
    let all = listed(store.as_ref(), &ItemFilter::default());
    assert_eq!(names(&all), ["c", "b", "a"]);
    let dead = ItemFilter {
        statuses: vec!["dead".into()],
        ..ItemFilter::default()
    };
    assert_eq!(names(&listed(store.as_ref(), &dead)), ["c", "a"]);
    let of_one = ItemFilter {
        run: Some(run_id(1)),
        ..ItemFilter::default()
    };
    assert_eq!(names(&listed(store.as_ref(), &of_one)), ["b", "a"]);
    let late = ItemFilter {
        since: Some(UnixMs(20)),
        ..ItemFilter::default()
    };
    assert_eq!(names(&listed(store.as_ref(), &late)), ["c", "b"]);
}

fn a_dropped_item_is_back_when_something_happens_to_it(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    store
        .append(&own, stands(1, 10, "a", "dead"))
        .wait()
        .unwrap();
    let no = listed(store.as_ref(), &ItemFilter::default())[0].no;
    let dropped = |items: &[ItemNo]| store.drop_items(items).wait().unwrap();
    assert_eq!(dropped(&[no, ItemNo(no.0 + 100)]), 1);
    assert_eq!(dropped(&[no]), 0, "it is off the list already");
    assert!(listed(store.as_ref(), &ItemFilter::default()).is_empty());
    let with_dropped = ItemFilter {
        dropped_too: true,
        ..ItemFilter::default()
    };
    assert!(listed(store.as_ref(), &with_dropped)[0].is_dropped);
    store
        .append(&own, stands(2, 20, "a", "dead"))
        .wait()
        .unwrap();
    let back = listed(store.as_ref(), &ItemFilter::default());
    assert_eq!((back.len(), back[0].no, back[0].is_dropped), (1, no, false));
}

fn the_items_of_a_removed_run_go_with_it(house: &dyn House) {
    let store = house.store();
    let own = store.create(new_run(1), event(0)).unwrap();
    store
        .append(&own, stands(1, 10, "a", "dead"))
        .wait()
        .unwrap();
    let no = listed(store.as_ref(), &ItemFilter::default())[0].no;
    drop(own);
    store.remove(&run_id(1)).unwrap();
    assert!(listed(store.as_ref(), &ItemFilter::default()).is_empty());
    // People copy the numbers: none is given twice.
    let own = store.create(new_run(2), event(0)).unwrap();
    store
        .append(&own, stands(1, 20, "b", "dead"))
        .wait()
        .unwrap();
    assert!(listed(store.as_ref(), &ItemFilter::default())[0].no > no);
}
