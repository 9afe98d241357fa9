//! Which processes belong to which job, and how all of them are ended.
//!
//! A job's process is below a command that was started here, or carries its job's mark in its
//! environment. One that left its parents and erased its mark falls to this process, which takes in
//! orphans (`PR_SET_CHILD_SUBREAPER`); it is told from this process's own children by its session:
//! every command gets a new one, and no process can go back to an older.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper,
    waitpid,
};
use tokio::process::{Child, Command};

/// The variable by which a job's processes are recognized when they have left its process tree.
pub(crate) const JOB_MARK: &str = "KEYFERRY_JOB_MARK";

/// What was started here and is not over, with the mark of its job. Held while something starts, so
/// that nobody takes it for an orphan, nor inherits what is handed to it.
static LIVING: Mutex<BTreeMap<u32, Option<String>>> = Mutex::new(BTreeMap::new());

fn living() -> MutexGuard<'static, BTreeMap<u32, Option<String>>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a command which inherits these descriptors, and is to be forgotten when it was waited
/// for.
pub(crate) fn start(
    command: &mut Command,
    inherited: &[&OwnedFd],
    mark: Option<&str>,
) -> io::Result<Child> {
    let mut living = living();
    for descriptor in inherited {
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    let started = command.spawn();
    for descriptor in inherited {
        fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
    }
    let child = started?;
    if let Some(process) = child.id() {
        living.insert(process, mark.map(str::to_owned));
    }
    Ok(child)
}

/// Tells whether a process is a command of the job with this mark, or below one: from the first
/// moment of that command, since whoever asks waits for what is being started.
pub(crate) fn is_of(mark: &str, process: u32) -> bool {
    let living = living();
    let roots = living.iter().filter(|(_, other)| other.as_deref() == Some(mark));
    let roots: BTreeSet<u32> = roots.map(|(root, _)| *root).collect();
    drop(living);
    descends_from(process, &roots)
}

/// Keeps everything in this process from starting a command until the guard is dropped.
pub(crate) fn pause_starts() -> impl Drop {
    living()
}

/// Forgets a process that was started here and is over.
pub(crate) fn forget(process: u32) {
    living().remove(&process);
}

/// Makes this process take in the orphans among its descendants.
pub(crate) fn take_in_orphans() -> io::Result<()> {
    set_child_subreaper(Some(getpid()))?;
    Ok(())
}

/// Lets go of orphans that are dead: nobody else waits for them.
pub(crate) fn reap_orphans() {
    let living = living();
    reap(&table(), &living);
}

fn reap(table: &BTreeMap<u32, Entry>, living: &BTreeMap<u32, Option<String>>) {
    for (process, entry) in adopted(table, living) {
        if entry.is_dead
            && let Some(pid) = pid_of(process)
        {
            // Gone by now is as good.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// Kills what there is of a job: below `root`, with its mark, and, when this process `adopts`,
/// orphans that are of no other job. Tells whether there was anything.
pub(crate) fn kill_of(mark: &str, root: Option<u32>, adopts: bool) -> bool {
    let living = living();
    let table = table();
    let mut found: BTreeSet<u32> = root.map(|root| below(&table, root)).unwrap_or_default();
    found.extend(table.keys().filter(|process| mark_of(**process).as_deref() == Some(mark)));
    if adopts {
        reap(&table, &living);
        for (process, entry) in adopted(&table, &living) {
            let session = living.get(&entry.session).and_then(Option::as_deref);
            let own = mark_of(process);
            let is_of_another = [session, own.as_deref()].into_iter().flatten().any(|other| {
                other != mark && living.values().any(|one| one.as_deref() == Some(other))
            });
            if !is_of_another {
                found.insert(process);
                found.extend(below(&table, process));
            }
        }
    }
    found.remove(&std::process::id());
    found.retain(|process| table.get(process).is_some_and(|entry| !entry.is_dead));
    for process in &found {
        signal(*process, Signal::KILL);
    }
    !found.is_empty()
}

/// Returns children of this process that it did not start itself.
fn adopted<'a>(
    table: &'a BTreeMap<u32, Entry>,
    living: &BTreeMap<u32, Option<String>>,
) -> Vec<(u32, &'a Entry)> {
    let own = std::process::id();
    let Some(session) = table.get(&own).map(|entry| entry.session) else { return Vec::new() };
    table
        .iter()
        .filter(|(process, entry)| {
            entry.parent == own && entry.session != session && !living.contains_key(process)
        })
        .map(|(process, entry)| (*process, entry))
        .collect()
}

/// What the kernel says about a process. Source: `proc_pid_stat(5)`.
#[derive(Debug)]
struct Entry {
    parent: u32,
    session: u32,
    started: u64,
    /// Over, and not waited for yet.
    is_dead: bool,
}

fn entry_of(process: u32) -> Option<Entry> {
    let bytes = fs::read(format!("/proc/{process}/stat")).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // The name in front of this is the process's own choice, parentheses and all.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Entry {
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        is_dead: matches!(fields.first(), Some(&("Z" | "X"))),
    })
}

fn table() -> BTreeMap<u32, Entry> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, entry_of(process)?)))
        .collect()
}

fn mark_of(process: u32) -> Option<String> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok())
        .find_map(|entry| entry.strip_prefix(JOB_MARK)?.strip_prefix('='))
        .map(str::to_owned)
}

/// Returns when a process started, in ticks since the machine did.
pub(crate) fn start_time_of(process: u32) -> Option<u64> {
    entry_of(process).filter(|entry| !entry.is_dead).map(|entry| entry.started)
}

/// Tells whether a process is one of `roots` or below one.
pub(crate) fn descends_from(process: u32, roots: &BTreeSet<u32>) -> bool {
    let mut current = process;
    // Deeper trees than this are not processes of a build but an attack on this loop.
    for _ in 0..4_096 {
        if roots.contains(&current) {
            return true;
        }
        match entry_of(current) {
            Some(entry) if entry.parent > 1 => current = entry.parent,
            _ => return false,
        }
    }
    false
}

/// Returns what is below a process.
pub(crate) fn descendants(root: u32) -> BTreeSet<u32> {
    below(&table(), root)
}

fn below(table: &BTreeMap<u32, Entry>, root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (process, entry) in table {
        children.entry(entry.parent).or_default().push(*process);
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(process) = open.pop() {
        for child in children.remove(&process).unwrap_or_default() {
            found.insert(child);
            open.push(child);
        }
    }
    found
}

fn pid_of(process: u32) -> Option<Pid> {
    i32::try_from(process).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

pub(crate) fn signal(process: u32, signal: Signal) {
    if let Some(pid) = pid_of(process) {
        // Already gone is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

pub(crate) fn signal_group(process: u32, signal: Signal) {
    if let Some(pid) = pid_of(process) {
        let _ = kill_process_group(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn this_process_descends_from_its_parent_and_not_from_others() {
        let own = std::process::id();
        let parent = entry_of(own).unwrap().parent;
        assert!(descends_from(own, &[own].into()));
        assert!(descends_from(own, &[parent].into()));
        assert!(!descends_from(parent, &[own].into()));
        assert!(!descends_from(own, &BTreeSet::new()));
        assert!(!descends_from(u32::MAX, &[own].into()));
    }

    /// A process that asks on its job's socket at once must not be taken for a stranger.
    #[tokio::test]
    async fn a_command_is_of_its_job_from_its_first_moment() {
        const MARK: &str = "mark-of-a-command-that-asks-at-once";
        let is_over = AtomicBool::new(false);
        let mut started = Vec::new();
        let strangers = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut strangers = 0;
                while !is_over.load(Ordering::SeqCst) {
                    for process in table().into_keys() {
                        let is_ours = mark_of(process).as_deref() == Some(MARK);
                        strangers += u32::from(is_ours && !is_of(MARK, process));
                    }
                }
                strangers
            });
            for _ in 0..50 {
                let mut command = crate::process::plain_command("sleep");
                command.arg("60").env_clear().env("PATH", "/usr/bin:/bin").env(JOB_MARK, MARK);
                started.push(start(command.kill_on_drop(true), &[], Some(MARK)).unwrap());
            }
            is_over.store(true, Ordering::SeqCst);
            watch.join().unwrap()
        });
        assert_eq!(strangers, 0);
        let own = started[0].id().unwrap();
        assert!(is_of(MARK, own) && !is_of("another mark", own) && !is_of(MARK, 1));
        for mut child in started {
            let process = child.id().unwrap();
            child.kill().await.unwrap();
            forget(process);
            assert!(!is_of(MARK, process));
        }
    }

    #[test]
    fn only_orphans_of_other_sessions_are_adopted() {
        let own = std::process::id();
        let entry = |parent, session| Entry { parent, session, started: 1, is_dead: false };
        let table = BTreeMap::from([
            (own, entry(1, 5)),
            // A child that another part of this program started.
            (own + 1, entry(own, 5)),
            // A job's command, and an orphan of one.
            (own + 2, entry(own, own + 2)),
            (own + 3, entry(own, own + 3)),
            (own + 4, entry(own + 1, own + 4)),
        ]);
        let living = BTreeMap::from([(own + 2, None)]);
        let found: Vec<u32> =
            adopted(&table, &living).into_iter().map(|(process, _)| process).collect();
        assert_eq!(found, [own + 3]);
    }
}
