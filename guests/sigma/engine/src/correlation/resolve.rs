//! Finds the rules that correlations name, and puts the correlations into order.

use super::plan::{Correlation, Member, Source};
use super::read::Draft;
use crate::diagnostic::{Diagnostic, Finding, Place, brief, did_you_mean};
use crate::rule::RuleMeta;
use std::collections::HashMap;

/// Suggestions for misspelt names in all: each looks at every name there is.
const MAX_SUGGESTIONS: u32 = 50;
/// Unknown rules told about for one correlation.
const MAX_UNKNOWN: usize = 20;

/// Correlations of correlations of ...: each level multiplies what one match can set off.
const MAX_DEPTH: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Rule(usize),
    Draft(usize),
}

/// What can be referred to, by id and by name.
struct Known<'a> {
    ids: HashMap<&'a str, Target>,
    names: HashMap<&'a str, Vec<Target>>,
    suggestions: u32,
}

impl<'a> Known<'a> {
    fn new(rules: &'a [RuleMeta], drafts: &'a [Draft]) -> Self {
        let mut known = Self { ids: HashMap::new(), names: HashMap::new(), suggestions: MAX_SUGGESTIONS };
        let rules = rules.iter().enumerate().map(|(i, meta)| (meta, Target::Rule(i)));
        let drafts = drafts.iter().enumerate().map(|(i, draft)| (&draft.meta, Target::Draft(i)));
        for (meta, target) in rules.chain(drafts) {
            known.ids.entry(&meta.id).or_insert(target);
            if let Some(name) = &meta.name {
                known.names.entry(name).or_default().push(target);
            }
        }
        known
    }

    fn find(&mut self, reference: &str, place: Place) -> Result<Target, Finding> {
        if let Some(target) = self.ids.get(reference) {
            return Ok(*target);
        }
        match self.names.get(reference).map(Vec::as_slice) {
            Some([target]) => Ok(*target),
            Some(several) => {
                let message = format!("{} rules have the name '{}'", several.len(), brief(reference));
                Err(Finding::error(place, "ambiguous-rule", message).help("refer to the rule by its id"))
            }
            None => {
                let message = format!("there is no rule with the id or name '{}'", brief(reference));
                let mut help = String::new();
                if let Some(left) = self.suggestions.checked_sub(1) {
                    self.suggestions = left;
                    help = did_you_mean(reference, self.names.keys().chain(self.ids.keys()).copied());
                }
                if help.is_empty() {
                    "the rule has to be among those that are loaded, with an 'id' or 'name' like this"
                        .clone_into(&mut help);
                }
                Err(Finding::error(place, "unknown-rule", message).help(help))
            }
        }
    }
}

/// Resolves `drafts` against each other and `rules`, and marks the rules that are not to be delivered. Their order stays;
/// those that cannot be loaded are left out.
pub(crate) fn resolve(
    drafts: Vec<Draft>,
    rules: &mut [RuleMeta],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Correlation> {
    let drafts = unique(drafts, rules, diagnostics);
    let mut known = Known::new(rules, &drafts);
    let mut targets: Vec<Option<Vec<Target>>> = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        let mut found = Vec::with_capacity(draft.rules.len());
        let mut unknown = 0;
        for (name, place) in &draft.rules {
            match known.find(name, *place) {
                Ok(target) if found.contains(&target) => {
                    let message = format!("'{}' is a rule that is listed already", brief(name));
                    diagnostics.push(Finding::error(*place, "repeated-rule", message).in_file(&draft.meta.file));
                }
                Ok(target) => found.push(target),
                Err(finding) => {
                    unknown += 1;
                    if unknown <= MAX_UNKNOWN {
                        diagnostics.push(finding.in_file(&draft.meta.file));
                    }
                }
            }
        }
        targets.push((found.len() == draft.rules.len()).then_some(found));
    }
    let depths = order(&drafts, &targets, diagnostics);
    // Aliases may be wrong, too, and what refers to a refused correlation is refused.
    let mut built: Vec<Option<Correlation>> = (0..drafts.len()).map(|_| None).collect();
    let mut by_depth: Vec<usize> = (0..drafts.len()).filter(|i| depths[*i].is_some()).collect();
    by_depth.sort_by_key(|i| depths[*i]);
    for i in by_depth {
        let (Some(depth), Some(targets)) = (depths[i], &targets[i]) else { continue };
        let lost = targets.iter().position(|t| matches!(t, Target::Draft(d) if built[*d].is_none()));
        if let Some(at) = lost {
            diagnostics.push(not_loaded(&drafts[i], at));
            continue;
        }
        let mut findings = Vec::new();
        let mut correlation = build(&drafts[i], depth, targets, rules, &drafts, &mut findings);
        if let Some(correlation) = &mut correlation {
            let closes = |d: usize| built[d].as_ref().is_some_and(|c| c.at_close || c.after_close);
            correlation.after_close = targets.iter().any(|t| matches!(t, Target::Draft(d) if closes(*d)));
        }
        built[i] = correlation;
        diagnostics.extend(findings.into_iter().map(|f| f.in_file(&drafts[i].meta.file)));
    }

    let base = rules.len();
    let mut number = base;
    let numbers: Vec<usize> = built
        .iter()
        .map(|c| {
            number += usize::from(c.is_some());
            number.wrapping_sub(1)
        })
        .collect();
    let analytic = |target: Target| match target {
        Target::Rule(i) => i,
        Target::Draft(i) => numbers[i],
    };
    // Per analytic: referred to, and by one that wants it to be delivered.
    let mut referred = vec![(false, false); number];
    let mut correlations = Vec::with_capacity(number - base);
    for (correlation, targets) in built.into_iter().zip(&targets) {
        let (Some(mut correlation), Some(targets)) = (correlation, targets) else { continue };
        for (member, target) in correlation.members.iter_mut().zip(targets) {
            member.analytic = analytic(*target) as u32;
            let referred = &mut referred[member.analytic as usize];
            *referred = (true, referred.1 || correlation.generate);
        }
        correlations.push(correlation);
    }
    let metas = rules.iter_mut().chain(correlations.iter_mut().map(|c| &mut c.meta));
    for (meta, (referred, generate)) in metas.zip(referred) {
        meta.deliver = !referred || generate;
    }
    correlations
}

fn not_loaded(draft: &Draft, rule: usize) -> Diagnostic {
    let (name, place) = &draft.rules[rule];
    let message = format!("the correlation '{}' is not loaded", brief(name));
    Finding::error(*place, "unknown-rule", message).help("see what is said about it").in_file(&draft.meta.file)
}

fn unique(drafts: Vec<Draft>, rules: &[RuleMeta], diagnostics: &mut Vec<Diagnostic>) -> Vec<Draft> {
    let mut first: HashMap<String, String> = rules.iter().map(|r| (r.id.clone(), r.file.clone())).collect();
    let mut kept = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if let Some(file) = first.get(&draft.meta.id) {
            let message = format!("another rule, in '{}', has the id '{}' already", brief(file), brief(&draft.meta.id));
            let finding =
                Finding::error(draft.id_place, "duplicate-id", message).help("give this rule an id of its own");
            diagnostics.push(finding.in_file(&draft.meta.file));
            continue;
        }
        first.insert(draft.meta.id.clone(), draft.meta.file.clone());
        kept.push(draft);
    }
    kept
}

/// Per draft how many correlations there are between it and the rules, itself included. None = refused.
fn order(drafts: &[Draft], targets: &[Option<Vec<Target>>], diagnostics: &mut Vec<Diagnostic>) -> Vec<Option<u32>> {
    let below = |i: usize| {
        let found = targets[i].iter().flatten();
        found.filter_map(|t| if let Target::Draft(d) = t { Some(*d) } else { None })
    };
    let mut above: Vec<Vec<usize>> = vec![Vec::new(); drafts.len()];
    let mut waiting = vec![0_usize; drafts.len()];
    for (i, waiting) in waiting.iter_mut().enumerate() {
        for d in below(i) {
            above[d].push(i);
            *waiting += 1;
        }
    }
    let mut depths: Vec<Option<u32>> = vec![None; drafts.len()];
    let mut ready: Vec<usize> = (0..drafts.len()).filter(|i| waiting[*i] == 0).collect();
    let mut done = 0;
    while let Some(i) = ready.get(done).copied() {
        done += 1;
        // A reference that leads nowhere was told of; what refers to this one is told below.
        if targets[i].is_some() {
            depths[i] = Some(1 + below(i).map(|d| depths[d].unwrap_or(0)).max().unwrap_or(0));
        }
        if depths[i].is_some_and(|depth| depth > MAX_DEPTH) {
            depths[i] = None;
            let message = format!("correlations of correlations, more than {MAX_DEPTH} deep");
            let finding = Finding::error(drafts[i].place, "correlation-too-complex", message);
            diagnostics.push(finding.in_file(&drafts[i].meta.file));
        }
        for a in &above[i] {
            waiting[*a] -= 1;
            if waiting[*a] == 0 {
                ready.push(*a);
            }
        }
    }
    for (i, waiting) in waiting.iter().enumerate() {
        if *waiting > 0 {
            let message = "the correlation refers to itself, or to others that do";
            let finding = Finding::error(drafts[i].place, "correlation-cycle", message);
            diagnostics.push(finding.in_file(&drafts[i].meta.file));
        }
    }
    depths
}

fn build(
    draft: &Draft,
    depth: u32,
    targets: &[Target],
    rules: &[RuleMeta],
    drafts: &[Draft],
    findings: &mut Vec<Finding>,
) -> Option<Correlation> {
    let meta = |target: Target| match target {
        Target::Rule(i) => &rules[i],
        Target::Draft(i) => &drafts[i].meta,
    };
    let is = |target: Target, name: &str| meta(target).id == name || meta(target).name.as_deref() == Some(name);
    for alias in &draft.aliases {
        for ((rule, place), _) in &alias.fields {
            if !targets.iter().any(|t| is(*t, rule)) {
                let message = format!("the alias names '{}', which is none of the correlation's rules", brief(rule));
                findings.push(Finding::warning(*place, "unused-alias", message));
            }
        }
    }
    let mut fields: Vec<String> = Vec::new();
    let mut complete = true;
    let mut source = |target: Target, rule: &str, name: &(String, Place)| {
        let mut field = name.0.as_str();
        if let Some(alias) = draft.aliases.iter().find(|a| a.name.0 == name.0) {
            if let Some((_, of_rule)) = alias.fields.iter().find(|((rule, _), _)| is(target, rule)) {
                field = of_rule;
            } else {
                let message = format!("the alias '{}' has no field for the rule '{}'", brief(field), brief(rule));
                findings.push(Finding::error(alias.name.1, "incomplete-alias", message));
                complete = false;
            }
        }
        match target {
            Target::Rule(_) => {
                let known = fields.iter().position(|f| f == field);
                let at = known.unwrap_or(fields.len());
                if known.is_none() {
                    fields.push(field.to_owned());
                }
                Source::Column(at as u32)
            }
            Target::Draft(d) => {
                if let Some(at) = drafts[d].group_by.iter().position(|(f, _)| f == field) {
                    return Source::Key(at as u32);
                }
                let message = format!("'{}' is a correlation that does not group by '{}'", brief(rule), brief(field));
                let finding = Finding::warning(name.1, "field-not-grouped", message);
                findings.push(finding.help("all that is known of a correlation's match is what it groups by"));
                Source::Nowhere
            }
        }
    };
    let mut members = Vec::with_capacity(targets.len());
    for (target, (rule, _)) in targets.iter().zip(&draft.rules) {
        let group = draft.group_by.iter().map(|name| source(*target, rule, name)).collect();
        let value = draft.value.iter().map(|name| source(*target, rule, name)).collect();
        members.push(Member { analytic: 0, id: meta(*target).id.clone(), group, value });
    }
    if !complete {
        return None;
    }
    let group_by: Vec<String> = draft.group_by.iter().map(|(name, _)| name.clone()).collect();
    let sources = members.iter().map(|m| format!("{:?} {:?} {:?}", m.id, m.group, m.value)).collect::<Vec<_>>();
    let definition = format!(
        "{:?} {sources:?} {fields:?} {group_by:?} {} {:?} {:?} {} {:?} {:?}",
        draft.kind, draft.timespan, draft.test, draft.chains, draft.at_close, draft.suppress, draft.refire
    );
    Some(Correlation {
        meta: draft.meta.clone(),
        kind: draft.kind,
        group_by,
        timespan: draft.timespan,
        generate: draft.generate,
        members,
        test: draft.test.clone(),
        chains: draft.chains.clone(),
        at_close: draft.at_close,
        suppress: draft.suppress,
        refire: draft.refire,
        fields,
        after_close: false,
        depth,
        definition,
        condition: draft.condition.clone(),
        field: draft.value.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
    })
}
