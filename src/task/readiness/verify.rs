//! R6xx: whether the work is checked.

use super::{Look, NO_VERIFY};
use crate::task::locate::KeyPath;

impl Look<'_> {
    pub(super) fn verification(&mut self) {
        if self.task.verify.is_none() {
            self.find(
                NO_VERIFY,
                &KeyPath::root(),
                "nothing checks the work: the agent's word is all there is".to_owned(),
                "add `verify:` with `- command: [make, test]`",
            );
        }
    }
}
