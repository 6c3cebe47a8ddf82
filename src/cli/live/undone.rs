//! The steps that were undone, as they are written: one line for a step at the top level, however many items it has.

use std::time::Duration;

use super::{details::INDENT, line::Line};
use crate::{
    cli::{durations::duration_text, stdout::Color},
    journal::StepPath,
};
use text::plural;

/// How many targets that were not restored are written for one step. `runs show` has all.
const MAX_NOT_RESTORED: usize = 10;

/// The step that was undone last, with its items.
#[derive(Debug, Default)]
pub(super) struct Undone(Option<Group>);

#[derive(Debug)]
struct Group {
    top: StepPath,
    name: String,
    /// How many items, or steps of a called runbook.
    parts: usize,
    took: Duration,
    not_restored: Vec<String>,
    more_not_restored: usize,
}

impl Undone {
    /// Adds a step or an item. Returns the lines of the step before, where that is another one.
    pub(super) fn add(
        &mut self,
        path: &StepPath,
        name: &str,
        took: Duration,
        not_restored: &[String],
    ) -> Vec<Line> {
        let top = path.top();
        let before = match &self.0 {
            Some(group) if group.top == top => Vec::new(),
            _ => self.take(),
        };
        let group = self.0.get_or_insert_with(|| Group {
            top,
            name: name.to_owned(),
            parts: 0,
            took: Duration::ZERO,
            not_restored: Vec::new(),
            more_not_restored: 0,
        });
        group.parts += usize::from(!path.is_top_level());
        group.took += took;
        for target in not_restored {
            match group.not_restored.len() < MAX_NOT_RESTORED {
                true => group.not_restored.push(target.clone()),
                false => group.more_not_restored += 1,
            }
        }
        before
    }

    /// Returns the lines of the step.
    pub(super) fn take(&mut self) -> Vec<Line> {
        let Some(group) = self.0.take() else { return Vec::new() };
        let parts = match group.parts {
            0 => String::new(),
            parts => format!(": {}", plural(parts, "part")),
        };
        let text = format!("Undid: {}{parts} ({})", group.name, duration_text(group.took));
        let mut lines = vec![Line::new(&text).marked(Some(Color::Yellow), "↶")];
        let yellow = |text: &str| Line::new(text).colored(Color::Yellow).indented(INDENT);
        let targets = group.not_restored.iter();
        lines.extend(targets.map(|target| yellow(&format!("not restored: {target}"))));
        if group.more_not_restored > 0 {
            let more = plural(group.more_not_restored, "more target");
            lines.push(yellow(&format!("not restored: {more}")));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::{super::line::lay_out, *};

    #[test]
    fn the_items_of_a_step_are_one_line() {
        let mut undone = Undone::default();
        let cordon = StepPath::top_level("cordon");
        for item in 0..300 {
            let not_restored = [format!("node {item}: changed by another client")];
            let took = Duration::from_millis(10);
            assert!(undone.add(&cordon.item(item), "Cordon", took, &not_restored).is_empty());
        }
        let before = undone.add(&StepPath::top_level("scale"), "Scale", Duration::ZERO, &[]);
        let before = lay_out(&before, 80, false);
        assert_eq!(before.len(), 12, "{before:#?}");
        assert_eq!(before[0], "↶ Undid: Cordon: 300 parts (3.0 s)");
        assert_eq!(before[11], "    not restored: 290 more targets");
        assert_eq!(lay_out(&undone.take(), 80, false), ["↶ Undid: Scale (0.0 s)"]);
        assert!(undone.take().is_empty());
    }
}
