//! What came of each line of a document: printed, and compared with the page for those who know the documents.

use std::path::Path;
use std::sync::Mutex;

/// Set to write the page anew instead of comparing it.
const UPDATE: &str = "HOSTNIC_UPDATE_GENERATED";
const PAGE: &str = "../docs/from-the-go-versions.md";

/// Trials run side by side, and the page is one file.
static PAGE_IN_USE: Mutex<()> = Mutex::new(());

/// The lines of one document.
#[derive(Debug)]
pub(crate) struct Table {
    document: &'static str,
    rows: Vec<(String, String)>,
}

impl Table {
    pub(crate) fn new(document: &'static str) -> Self {
        Self { document, rows: Vec::new() }
    }

    /// Notes what came of a line, a file or a part of one.
    pub(crate) fn row(&mut self, line: impl Into<String>, happened: impl Into<String>) {
        self.rows.push((line.into(), happened.into()));
    }

    /// Prints the table and makes sure that the page has the same.
    pub(crate) fn end(self) {
        let plain = self.rows.iter().map(|(line, happened)| format!("  {line}\n      {happened}\n"));
        println!("\nDocument {}, line by line:\n{}", self.document, plain.collect::<String>());
        let _in_use = PAGE_IN_USE.lock().unwrap();
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        let text = std::fs::read_to_string(&page).unwrap();
        let (begin, end) =
            (format!("<!-- {} -->\n", self.document), format!("<!-- /{} -->\n", self.document));
        let (head, rest) = text.split_once(&begin).unwrap();
        let (present, tail) = rest.split_once(&end).unwrap();
        let table = self.in_markdown();
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&page, [head, &begin, &table, &end, tail].concat()).unwrap();
            return;
        }
        for (present, now) in present.lines().zip(table.lines()) {
            assert_eq!(present, now, "{}", self.hint());
        }
        assert_eq!(present.lines().count(), table.lines().count(), "{}", self.hint());
    }

    fn hint(&self) -> String {
        format!(
            "{PAGE} says something else of document {}; run this test with {UPDATE}=1 and look at the difference",
            self.document
        )
    }

    fn in_markdown(&self) -> String {
        let cell = |text: &str| text.replace('|', "\\|");
        let row = |(line, happened): &(String, String)| format!("| {} | {} |\n", cell(line), cell(happened));
        let rows: String = self.rows.iter().map(row).collect();
        format!("| line or file | what happens |\n|---|---|\n{rows}")
    }
}
