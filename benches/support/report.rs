//! Tables: medians with their spread, and ratios of rounds that ran side by side.
#![allow(clippy::print_stdout, reason = "a bench speaks on standard output")]

use super::machine;

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// At least: what must be, and what is aimed at.
    AtLeast(f64, f64),
    /// At the most: what must be, and what is aimed at.
    AtMost(f64, f64),
    /// Shown for comparison only.
    Shown,
}

/// Prints what is measured, where, and the head of the table.
pub(crate) fn head(title: &str, peer: &str) {
    println!("\n## {title}\n");
    println!("{}\n", machine::describe());
    println!("| what | Seaworthy | {peer} | ratio | must | aim | outcome |");
    println!("|---|---|---|---|---|---|---|");
}

/// Prints one line: the medians of both sides, and the median ratio of each round's pair; without a peer
/// there is none.
pub(crate) fn line(what: &str, unit: &str, ours: &[f64], theirs: &[f64], goal: Goal) {
    if theirs.is_empty() {
        return figure(what, unit, ours, theirs, goal);
    }
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    let ratio = quantile(&ratios, 0.5);
    let (must, aim, outcome) = judge(ratio, goal, " ×");
    let (ours, theirs) = (spread(ours, unit), spread(theirs, unit));
    println!("| {what} | {ours} | {theirs} | {ratio:.3} × | {must} | {aim} | {outcome} |");
}

/// Prints one line of a figure that is judged by itself.
pub(crate) fn figure(what: &str, unit: &str, ours: &[f64], theirs: &[f64], goal: Goal) {
    let (must, aim, outcome) = judge(quantile(ours, 0.5), goal, unit);
    let (ours, theirs) = (spread(ours, unit), spread(theirs, unit));
    println!("| {what} | {ours} | {theirs} | | {must} | {aim} | {outcome} |");
}

/// The value that the share `q` of all values does not exceed; 0 of none.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "an index into a list that fits in memory"
)]
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

fn judge(value: f64, goal: Goal, unit: &str) -> (String, String, &'static str) {
    let (must, aim, sign, within) = match goal {
        Goal::AtLeast(must, aim) => (must, aim, '≥', value >= must),
        Goal::AtMost(must, aim) => (must, aim, '≤', value <= must),
        Goal::Shown => return (String::new(), String::new(), ""),
    };
    let reached = match goal {
        Goal::AtLeast(..) => value >= aim,
        Goal::AtMost(..) | Goal::Shown => value <= aim,
    };
    let outcome = if reached {
        "aim"
    } else if within {
        "must"
    } else {
        "MISSED"
    };
    (format!("{sign} {must:.3}{unit}"), format!("{sign} {aim:.3}{unit}"), outcome)
}

fn spread(values: &[f64], unit: &str) -> String {
    if values.is_empty() {
        return String::new();
    }
    let [low, mid, high] = [0.0, 0.5, 1.0].map(|q| short(quantile(values, q), unit));
    format!("{mid}{unit} [{low}..{high}]")
}

fn short(value: f64, unit: &str) -> String {
    match value {
        rate if unit == "/s" && rate >= 100_000.0 => format!("{:.0} k", rate / 1e3),
        rate if unit == "/s" && rate >= 10_000.0 => format!("{:.1} k", rate / 1e3),
        large if large >= 100.0 => format!("{large:.0}"),
        small => format!("{small:.2}"),
    }
}
