//! The final ledger, on standard output.

use floodmark_engine::runtime::Status;

use super::live::human;

/// Prints where every record went, since the pipeline's first start.
pub(in crate::cli) fn print(pipeline: &str, status: &Status) {
    for (name, source) in &status.sources {
        let ledger = &source.ledger;
        println!(
            "ledger of '{pipeline}', source '{name}': {} records read",
            human(ledger.read)
        );
        for (output, counts) in &ledger.outputs {
            println!(
                "  {output}: {} = {} taken + {} filtered + {} late + {} bad + {} without event time",
                human(ledger.read),
                human(counts.taken),
                human(counts.filtered),
                human(counts.late),
                human(ledger.bad),
                human(ledger.null_time),
            );
        }
    }
    let extra = [
        ("dead letters", &status.dead_letter),
        ("late rows", &status.late),
    ];
    let extra = extra
        .into_iter()
        .filter_map(|(name, output)| Some((name, output.as_ref()?)));
    let outputs = status
        .outputs
        .iter()
        .map(|(name, output)| (name.as_str(), output));
    for (name, output) in outputs.chain(extra) {
        let open = match output.open_windows {
            0 => String::new(),
            windows => format!(
                ", {windows} windows open in checkpoint {}",
                status.checkpoint.epoch
            ),
        };
        let files = match output.committed.files {
            0 => String::new(),
            files => format!(" in {} files", human(files)),
        };
        let refused = match output.committed.refused {
            0 => String::new(),
            rows => format!(", {} too large and buried instead", human(rows)),
        };
        println!(
            "written to {name}: {} rows{files}{refused}{open}",
            human(output.committed.rows)
        );
    }
}
