//! What the steps of a called runbook do, in the words of its caller.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::super::super::document::RawStep;
use super::super::Analysis;
use super::{
    Act, Effect, EffectKind, Flow, Known, Part, Reading, Size, Target, simple_path, template_text,
};

/// The most steps of a called runbook that are followed.
const MAX_STEPS: usize = 64;

/// The effects of the steps of a runbook, in the words of its inputs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Called {
    effects: Vec<Effect>,
    /// The outputs that are sizes.
    outputs: BTreeMap<String, Size>,
    /// The defaults of the inputs.
    defaults: BTreeMap<String, Json>,
}

impl Called {
    pub(crate) fn new(analysis: &Analysis<'_>) -> Self {
        let reading = Reading::new(analysis, &analysis.flow);
        let mut effects = Vec::new();
        let steps = analysis.document.steps.iter().zip(&analysis.steps).zip(&analysis.flow.steps);
        for ((raw, step), facts) in steps {
            match facts.acts.as_slice() {
                [] if raw.for_each.is_some() || raw.call.is_some() => {
                    effects.push(Effect::anything());
                }
                [] => {
                    effects.push(reading.effect(raw, step, facts.is_certain));
                }
                acts => effects.extend(acts.iter().map(|act| act.effect.clone())),
            }
        }
        if effects.len() > MAX_STEPS {
            effects = vec![Effect::anything()];
        }
        let output = |output: &super::super::AnalyzedOutput<'_>| {
            let value = analysis.document.outputs.iter();
            let (_, node) = value.clone().find(|(key, _)| key.text() == Some(output.name))?;
            template_text(node)?;
            Some((output.name.to_owned(), reading.size(node)?))
        };
        let outputs = analysis.outputs.iter().filter_map(output).collect();
        let inputs = analysis.document.inputs.iter().zip(&analysis.defaults);
        let defaults =
            inputs.filter_map(|(input, default)| Some((input.name.to_owned(), default.clone()?)));
        Self { effects, outputs, defaults: defaults.collect() }
    }
}

impl Effect {
    fn anything() -> Self {
        let kind = EffectKind::Anything;
        Self { target: None, kind, is_certain: false, is_repeated: true }
    }
}

/// A call: what the runbook does, and the parameters that it is given.
struct Call<'a, 'r, 't> {
    reading: &'a Reading<'r, 't>,
    raw: &'a RawStep<'t>,
    called: &'a Called,
    /// Names what is known to the called runbook alone.
    name: String,
}

impl Reading<'_, '_> {
    /// Returns what the steps of a called runbook do.
    pub(super) fn acts_of_call(&self, raw: &RawStep<'_>, is_certain: bool, key: &str) -> Vec<Act> {
        let name = raw.call.and_then(|call| call.text());
        let Some(callable) = name.and_then(|name| self.analysis.callables.get(name)) else {
            return Vec::new();
        };
        let id = raw.id_text().unwrap_or_default();
        let name = format!("{id}[{key}]");
        let call = Call { reading: self, raw, called: &callable.flow, name };
        let act = |effect: &Effect| {
            let (kind, parameter) = call.kind(&effect.kind);
            let target = effect.target.as_ref().and_then(|target| call.target(target));
            let is_certain = is_certain && effect.is_certain;
            let is_repeated = effect.is_repeated || raw.for_each.is_some();
            let effect = Effect { target, kind, is_certain, is_repeated };
            Act { effect, before: Known::default(), key: key.to_owned(), parameter }
        };
        callable.flow.effects.iter().map(act).collect()
    }

    /// Returns the size that an output of a called runbook is.
    pub(super) fn size_of_output(&self, step: usize, field: &str) -> Option<Size> {
        let raw = self.analysis.document.steps.get(step)?;
        let callable = self.analysis.callables.get(raw.call?.text()?)?;
        if raw.for_each.is_some() {
            return None;
        }
        let name = format!("{}[]", raw.id_text()?);
        let call = Call { reading: self, raw, called: &callable.flow, name };
        Some(call.size(callable.flow.outputs.get(field)?).0)
    }
}

impl Call<'_, '_, '_> {
    fn kind(&self, kind: &EffectKind) -> (EffectKind, Option<String>) {
        match kind {
            EffectKind::Size(Some(size)) => {
                let (size, parameter) = self.size(size);
                (EffectKind::Size(Some(size)), parameter)
            }
            EffectKind::Wait(Some(size)) => {
                let (size, parameter) = self.size(size);
                (EffectKind::Wait(Some(size)), parameter)
            }
            EffectKind::Found(size) => (EffectKind::Found(self.size(size).0), None),
            other => (other.clone(), None),
        }
    }

    /// Returns a size of the called runbook, with the parameter that says it.
    fn size(&self, size: &Size) -> (Size, Option<String>) {
        let Some(of) = &size.of else { return (size.clone(), None) };
        let given = of.strip_prefix("inputs.").filter(|name| !name.contains(['.', ' ']));
        let given = given.and_then(|name| Some((self.input_size(name)?, name)));
        match given {
            Some((given, name)) if size.is_whole() => (given, Some(name.to_owned())),
            Some((given, _)) => (size.with(given), None),
            None => (size.of_other(format!("{}/{of}", self.name)), None),
        }
    }

    fn input_size(&self, name: &str) -> Option<Size> {
        match self.raw.with.and_then(|with| with.member(name)) {
            Some(node) => self.reading.size(node),
            None => self.called.defaults.get(name)?.as_i64().map(Size::number),
        }
    }

    fn target(&self, target: &Target) -> Option<Target> {
        // The name of a group that a step has found is that group.
        if !target.is_workload()
            && let Some(Part::Input(name)) = target.part("name")
            && let Some(node) = self.raw.with.and_then(|with| with.member(name))
            && let Some((root, fields)) = template_text(node).and_then(simple_path)
            && matches!(fields.as_slice(), [] | ["name"])
            && let Some(found) = self.reading.target_of(root)
            && !found.is_workload()
        {
            return Some(found);
        }
        let part = |(name, part): &(&'static str, Part)| Some((*name, self.part(part)?));
        Some(Target { parts: target.parts.iter().map(part).collect::<Option<_>>()? })
    }

    fn part(&self, part: &Part) -> Option<Part> {
        let own = |text: &str| Part::Other(format!("{}/{text}", self.name));
        Some(match part {
            Part::Text(_) | Part::Labels(_) => part.clone(),
            Part::Other(text) => own(text),
            Part::Input(name) => match self.raw.with.and_then(|with| with.member(name)) {
                Some(node) => self.reading.part(node)?,
                None => match self.called.defaults.get(name) {
                    Some(Json::String(text)) => Part::Text(text.clone()),
                    _ => own(name),
                },
            },
        })
    }
}

impl Flow {
    /// Returns the act of a step for an item, by its key or position.
    pub(super) fn act(&self, step: usize, key: &str) -> Option<&Act> {
        let mut acts = self.steps.get(step)?.acts.iter().filter(|act| act.key == key);
        let first = acts.next()?;
        acts.next().is_none().then_some(first)
    }

    /// Returns the target of a step, and the fields of its output; of one of its items, if the path begins with it.
    pub(crate) fn target_of_path<'f, 'p>(
        &'f self,
        step: usize,
        fields: &'p [&'p str],
    ) -> Option<(&'f Target, &'p [&'p str])> {
        let facts = self.steps.get(step)?;
        if facts.acts.is_empty() {
            return Some((facts.target.as_ref()?, fields));
        }
        let (key, rest) = fields.split_first()?;
        Some((self.act(step, key)?.effect.target.as_ref()?, rest))
    }
}
