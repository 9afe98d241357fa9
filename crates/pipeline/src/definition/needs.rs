//! What a job waits for: names become keys, and circles are refused.

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::{Job, JobKey, Stage, unknown_reference};
use crate::diagnostic::{Position, code, quote};
use crate::reader::Reader;
use crate::yaml::{Name, Node};

/// Finds the jobs that `needs` names: in the same stage first, then in earlier stages, nearest
/// first, since one id may be used in two stages. `stage.job` is read too.
pub(super) fn resolve(
    reader: &mut Reader<'_>,
    stage: &str,
    earlier: &[Stage],
    jobs: &mut [Job],
    written: &[Vec<(String, Position)>],
) {
    let mut ids: Vec<(String, JobKey)> =
        jobs.iter().map(|job| (job.id.clone(), JobKey::new(stage, &job.id))).collect();
    for stage in earlier.iter().rev() {
        ids.extend(stage.jobs.iter().map(|job| (job.id.clone(), JobKey::new(&stage.id, &job.id))));
    }
    for (job, needs) in jobs.iter_mut().zip(written) {
        for (text, at) in needs {
            let own = JobKey::new(stage, &job.id);
            let matching = || ids.iter().filter(|(id, key)| id == text || key.as_str() == text);
            // A job that shares its id with one of an earlier stage means that one, not itself.
            let found = matching().find(|(_, key)| *key != own).or_else(|| matching().next());
            if let Some((_, key)) = found {
                if !job.needs.contains(key) {
                    job.needs.push(key.clone());
                }
            } else {
                let id = job.id.clone();
                reader.inside(&id, |reader| {
                    reader.inside("needs", |reader| {
                        let names = ids.iter().map(|(id, _)| id.as_str());
                        let what = "job in this stage or an earlier one called";
                        unknown_reference(reader, *at, what, text, names);
                    });
                });
            }
        }
    }
}

/// Notes jobs of one stage that wait for each other. Between stages there can be no circle.
pub(super) fn refuse_cycles(
    reader: &mut Reader<'_>,
    stage: &str,
    jobs: &[Job],
    entries: &[(&Name, &Node)],
) {
    let mut left: BTreeMap<JobKey, BTreeSet<JobKey>> = jobs
        .iter()
        .map(|job| {
            let prefix = format!("{stage}.");
            let own = job.needs.iter().filter(|key| key.as_str().starts_with(&prefix));
            (JobKey::new(stage, &job.id), own.cloned().collect())
        })
        .collect();
    // What can run is taken away, round by round; what is left waits for itself.
    loop {
        let ready: Vec<JobKey> = left
            .iter()
            .filter(|(_, needs)| !needs.iter().any(|key| left.contains_key(key)))
            .map(|(key, _)| key.clone())
            .collect();
        if ready.is_empty() {
            break;
        }
        left.retain(|key, _| !ready.contains(key));
    }
    let mut reported: BTreeSet<JobKey> = BTreeSet::new();
    for (job, (name, _)) in jobs.iter().zip(entries) {
        let key = JobKey::new(stage, &job.id);
        if !left.contains_key(&key) {
            continue;
        }
        let circle = circle(&key, &left);
        // A job that only waits for a circle is no part of it, and each circle is told once.
        if !circle.contains(&key) || circle.iter().any(|key| reported.contains(key)) {
            continue;
        }
        let names: Vec<String> = circle.iter().map(|key| quote(key.as_str())).collect();
        let message = format!("these jobs wait for each other: {}", names.join(" → "));
        reader.inside(&name.text, |reader| reader.note(name.at, code::CYCLE, message));
        reported.extend(circle);
    }
}

/// Follows the first need of each job until one comes twice.
fn circle(job: &JobKey, left: &BTreeMap<JobKey, BTreeSet<JobKey>>) -> Vec<JobKey> {
    let mut path = vec![job.clone()];
    while let Some(next) = path
        .last()
        .and_then(|key| left.get(key))
        .and_then(|needs| needs.iter().find(|key| left.contains_key(*key)))
    {
        if let Some(start) = path.iter().position(|key| key == next) {
            let mut circle = path.split_off(start);
            circle.push(next.clone());
            return circle;
        }
        path.push(next.clone());
    }
    path
}
