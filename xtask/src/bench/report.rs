//! What was measured, written for programs and for people.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{steps, workspace};

/// What a figure is held against.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// As much or more.
    AtLeast(f64),
    /// Less.
    Below(f64),
}

/// One figure: the values of all runs, and what ran beside it.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) goal: Goal,
    /// What it was compared with, or how it came about, in one sentence.
    pub(super) beside: String,
    pub(super) runs: Vec<f64>,
}

impl Figure {
    /// Returns the median of the runs.
    fn value(&self) -> f64 {
        let mut sorted = self.runs.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    fn is_reached(&self) -> bool {
        match self.goal {
            Goal::AtLeast(goal) => self.value() >= goal,
            Goal::Below(goal) => self.value() < goal,
        }
    }

    fn goal_text(&self) -> String {
        match self.goal {
            Goal::AtLeast(goal) => format!("≥ {goal}"),
            Goal::Below(goal) => format!("< {goal}"),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "value": rounded(self.value()),
            "unit": self.unit,
            "goal": self.goal_text(),
            "beside": self.beside,
            "runs": self.runs.iter().map(|run| rounded(*run)).collect::<Vec<_>>(),
        })
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Writes the figures; the page only when all of them were measured.
pub(super) fn write(figures: &[Figure], is_complete: bool) -> Result<()> {
    let folder = workspace::root().join("target/bench");
    std::fs::create_dir_all(&folder).context("make target/bench")?;
    let all: Vec<Value> = figures.iter().map(Figure::to_json).collect();
    let results = folder.join("results.json");
    std::fs::write(&results, serde_json::to_string_pretty(&all)? + "\n")
        .with_context(|| format!("write {}", results.display()))?;
    if is_complete {
        let page = workspace::root().join("docs/reference/performance.md");
        std::fs::write(&page, render(figures))
            .with_context(|| format!("write {}", page.display()))?;
    }
    for figure in figures {
        let mark = if figure.is_reached() { "reached" } else { "MISSED" };
        steps::say(&format!(
            "{:<28} {:>10.3} {:<6} goal {:<8} {mark}",
            figure.name,
            figure.value(),
            figure.unit,
            figure.goal_text()
        ));
    }
    Ok(())
}

fn render(figures: &[Figure]) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let mut text = format!(
        "# Performance\n\nWritten by `make bench`, in release, on a machine with {cores} cores that \
         also ran the client. Ratios\ncompare with something that ran beside it on the same \
         machine; times are for orientation. A value is the median\nof its runs.\n\n\
         | Figure | Value | Goal | Reached | Runs | Beside |\n| --- | --- | --- | --- | --- | --- |\n"
    );
    for figure in figures {
        let mut sorted = figure.runs.clone();
        sorted.sort_by(f64::total_cmp);
        let runs: Vec<String> = sorted.iter().map(|run| format!("{run:.3}")).collect();
        let reached = if figure.is_reached() { "yes" } else { "**no**" };
        // Writing to a String cannot fail.
        let _ok = writeln!(
            text,
            "| `{}` | {:.3} {} | {} | {reached} | {} | {} |",
            figure.name,
            figure.value(),
            figure.unit,
            figure.goal_text(),
            runs.join(", "),
            figure.beside
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(goal: Goal, runs: &[f64]) -> Figure {
        Figure { name: "x", unit: "ms", goal, beside: "nothing".to_owned(), runs: runs.to_vec() }
    }

    #[test]
    fn the_median_is_held_against_the_goal() {
        assert!(figure(Goal::Below(2.0), &[9.0, 1.0, 1.5]).is_reached());
        assert!(!figure(Goal::Below(2.0), &[9.0, 1.0, 2.0]).is_reached());
        assert!(figure(Goal::AtLeast(0.4), &[0.4]).is_reached());
        assert!(!figure(Goal::AtLeast(0.4), &[0.39]).is_reached());
    }

    #[test]
    fn a_figure_without_runs_reaches_nothing() {
        assert!(!figure(Goal::Below(2.0), &[]).is_reached());
    }
}
