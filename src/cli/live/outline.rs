//! The steps of a runbook's text: as much as the view of a run needs, also of a text that this version would refuse.

use serde::Deserialize;

use crate::journal::StepPath;

/// The ids of the steps of a runbook, in order.
#[derive(Debug, Default)]
pub(in crate::cli) struct Outline(Vec<Option<String>>);

impl Outline {
    /// Reads a runbook's text. One that cannot be read has no steps.
    pub(in crate::cli) fn of(text: &str) -> Self {
        #[derive(Deserialize)]
        struct Document {
            steps: Vec<Step>,
        }
        #[derive(Deserialize)]
        struct Step {
            id: Option<String>,
        }
        let document = serde_saphyr::from_str::<Document>(text).ok();
        let steps = document.into_iter().flat_map(|document| document.steps);
        Self(steps.map(|step| step.id).collect())
    }

    /// Returns how many steps there are; 0 where that is not known.
    pub(in crate::cli) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the place of a step, from 1.
    pub(super) fn position(&self, path: &StepPath) -> Option<usize> {
        let id = &path.segments().last()?.step;
        self.0.iter().position(|other| other.as_ref() == Some(id)).map(|at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_by_their_ids() {
        let outline = Outline::of("name: a\nsteps:\n- {id: x, action: y}\n- {id: z, call: w}\n");
        assert_eq!(outline.len(), 2);
        assert_eq!(outline.position(&StepPath::top_level("z")), Some(2));
        assert_eq!(outline.position(&StepPath::top_level("nothing")), None);
        assert_eq!(Outline::of("{{").len(), 0);
    }
}
