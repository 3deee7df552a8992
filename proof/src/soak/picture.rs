//! The picture: disk, memory and the time of opening, one below the other, over the time of the run.

use super::sample::{Line, Sample};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (1_000, 900);
const MB: f64 = 1e6;
/// Room above the highest point.
const HEADROOM: f64 = 1.15;

const DISK: RGBColor = RGBColor(31, 90, 160);
const BOUND: RGBColor = RGBColor(190, 40, 40);
const MEMORY: RGBColor = RGBColor(40, 120, 70);
const OPEN: RGBColor = RGBColor(120, 60, 140);
const LANES: RGBColor = RGBColor(220, 130, 20);
const KILL: RGBColor = RGBColor(205, 205, 205);

/// One line in a chart.
type Series<'a> = (&'a str, RGBColor, Vec<(f64, f64)>);

/// Draws the lines of a run into an SVG file.
///
/// # Errors
/// There are no samples, or the file cannot be written.
pub fn draw(lines: &[Line], target: &Path) -> Result<(), String> {
    render(lines, target).map_err(|error| format!("{}: {error}", target.display()))
}

fn render(lines: &[Line], target: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let samples: Vec<&Sample> =
        lines.iter().filter_map(|line| if let Line::Sample(sample) = line { Some(sample) } else { None }).collect();
    let last = samples.last().ok_or("there are no samples")?;
    let end_min = last.at_s / 60.0;
    let bound_bytes = lines.iter().find_map(|line| match line {
        Line::Begin { disk_bytes_max, .. } => Some(*disk_bytes_max as f64),
        _ => None,
    });
    let bound_bytes = bound_bytes.ok_or("the first line is missing")?;
    let over_time = |value: fn(&Sample) -> Option<f64>| -> Vec<(f64, f64)> {
        samples.iter().filter_map(|sample| Some((sample.at_s / 60.0, value(sample)?))).collect()
    };

    let root = SVGBackend::new(target, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!(
        "{:.0} minutes, {:.0} MB written, {:.0} times the bound on the disk",
        end_min,
        last.bytes as f64 / MB,
        last.bytes as f64 / bound_bytes
    );
    let area = root.titled(&title, ("sans-serif", 22))?;
    let charts = area.split_evenly((3, 1));

    let disk = over_time(|sample| Some(sample.directory_bytes as f64 / MB));
    let bound = vec![(0.0, bound_bytes / MB), (end_min, bound_bytes / MB)];
    chart(&charts[0], "disk, MB", end_min, &[("files of the directory", DISK, disk), ("bound", BOUND, bound)], &[])?;

    let memory = over_time(|sample| sample.rss_bytes.map(|bytes| bytes as f64 / MB));
    chart(&charts[1], "memory of the process, MB", end_min, &[("resident", MEMORY, memory)], &[])?;

    let opens: Vec<(f64, f64)> = lines
        .iter()
        .filter_map(
            |line| if let Line::Open { at_s, open_ms, .. } = line { Some((at_s / 60.0, *open_ms)) } else { None },
        )
        .collect();
    chart(&charts[2], "opening, ms", end_min, &[("time to open", OPEN, opens)], lines)?;
    root.present()?;
    Ok(())
}

/// One chart; with the events of `marked`: kills as lines, lane changes as dots with the number.
fn chart(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    name: &str,
    end_min: f64,
    series: &[Series<'_>],
    marked: &[Line],
) -> Result<(), Box<dyn std::error::Error>> {
    let highest = series.iter().flat_map(|(.., points)| points).map(|(_, value)| *value).fold(0.0, f64::max);
    let top = (highest * HEADROOM).max(1.0);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end_min.max(0.01), 0.0..top)?;
    let number = |value: &f64| if top < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .x_desc("minutes")
        .y_desc(name)
        .y_label_formatter(&number)
        .draw()?;

    let kills =
        marked.iter().filter_map(|line| if let Line::Kill { at_s, .. } = line { Some(at_s / 60.0) } else { None });
    let kills = kills.map(|at| PathElement::new([(at, 0.0), (at, top)], KILL));
    let drawn = chart.draw_series(kills)?;
    if !marked.is_empty() {
        drawn.label("kill").legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], KILL.stroke_width(3)));
    }
    for (label, color, points) in series {
        let color = *color;
        chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(1)))?
            .label(*label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    let changes = marked.iter().filter_map(|line| match line {
        Line::Open { at_s, open_ms, lanes, lanes_before: Some(_), .. } => Some((at_s / 60.0, *open_ms, *lanes)),
        _ => None,
    });
    let dots = changes.map(|(at, open_ms, lanes)| {
        EmptyElement::at((at, open_ms))
            + Circle::new((0, 0), 3, LANES.filled())
            + Text::new(lanes.to_string(), (4, -12), ("sans-serif", 11).into_font().color(&LANES))
    });
    let drawn = chart.draw_series(dots)?;
    if !marked.is_empty() {
        drawn.label("opened with another number of lanes").legend(|(x, y)| Circle::new((x + 8, y), 3, LANES.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_three_charts_and_its_marks() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("soak.svg");
        draw(&[], &target).unwrap_err();
        let mut lines = vec![Line::Begin {
            seconds: 60,
            seed: 1,
            disk_bytes_max: 1 << 30,
            bytes_per_second: 1,
            window_ms: 1,
            left_out: Vec::new(),
        }];
        lines.extend((0..60).map(|at| {
            Line::Sample(Sample {
                at_s: f64::from(at),
                rss_bytes: Some(1 << 27),
                directory_bytes: 1 << 29,
                ..Sample::default()
            })
        }));
        lines.push(Line::Kill { at_s: 20.0, early: false });
        lines.push(Line::Open { at_s: 21.0, open_ms: 12.5, lanes: 3, lanes_before: Some(1), was_closed: false });
        draw(&lines, &target).unwrap();
        let svg = std::fs::read_to_string(&target).unwrap();
        for text in ["disk, MB", "memory of the process, MB", "opening, ms", "bound", "kill", "another number of lanes"]
        {
            assert!(svg.contains(text), "{text}");
        }
    }
}
