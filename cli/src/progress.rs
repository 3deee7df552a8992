//! A progress bar on standard error, where somebody sees it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// A bar over `bytes`, or a spinner if they are not known. Nothing is drawn unless standard error is
/// a terminal.
pub fn over_bytes(bytes: Option<u64>) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(5)
    } else {
        ProgressDrawTarget::hidden()
    };
    let template = match bytes {
        Some(_) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}",
        None => "{spinner} {bytes} {bytes_per_sec} {msg}",
    };
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::with_draw_target(bytes, target).with_style(style)
}

/// The same over records.
pub fn over_records() -> ProgressBar {
    let template = "{wide_bar} {human_pos}/{human_len} records {eta} {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    over_bytes(Some(0)).with_style(style)
}
