//! The script of a run's page, in a browser: it zooms by what a person does, and what it makes of that
//! is looked at. `cargo xtask test` runs it where there is a Chromium.

use inspect::KvmKind;
use inspect::report::{Recorder, Report};
use portcall::{Image, Kvm, Limit, Vm};
use scraper::{Html, Selector};
use std::process::Command;
use tempfile::TempDir;

/// mov al, 'x'; out 0xe9, al; jmp back to the OUT
const PRINTS: &[u8] = &[0xb0, b'x', 0xe6, 0xe9, 0xeb, 0xfc];

/// Does what a person does, and keeps what the page is like then as attributes of its body.
const VISITOR: &str = "<script>
const picture = document.getElementById('timeline-picture');
const click = (name) => document.querySelector(`[data-zoom=${name}]`)
    .dispatchEvent(new MouseEvent('click', { bubbles: true }));
const look = (name) => {
    const boxes = [...picture.querySelectorAll('path.answer')]
        .map((it) => it.getAttribute('d').split('M').length - 1).reduce((a, b) => a + b, 0);
    const marks = [...document.querySelectorAll('.axis text')].map((it) => it.textContent);
    document.body.setAttribute('data-' + name, [boxes, marks[0], marks[marks.length - 1]].join(';'));
};
look('before');
for (let i = 0; i < 4; i++) click('in');
look('in');
picture.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowLeft', bubbles: true }));
look('earlier');
for (let i = 0; i < 60; i++) click('in');
look('deepest');
click('all');
look('all');
</script>";

/// A page's document after the browser has run its scripts.
fn visited(page: &str) -> Html {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("page.html");
    // The visitor is no script of the page's: its policy would stop it.
    let (before, policy) = page.split_once("<meta http-equiv").expect("a policy");
    let (_, behind) = policy.split_once('>').expect("its end");
    let page = format!("{before}{behind}").replace("</body>", &format!("{VISITOR}</body>"));
    std::fs::write(&file, page).expect("written");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .output()
        .expect("this test needs chromium (apt-get install chromium)");
    Html::parse_document(&String::from_utf8_lossy(&output.stdout))
}

#[test]
#[ignore = "it needs chromium; cargo xtask test runs it where there is one"]
fn the_timeline_is_zoomed_into_and_out_of() {
    let kvm = Kvm::open().expect("KVM");
    let image = Image::flat(PRINTS).expect("an image");
    let recorder = Recorder::new();
    let builder = Vm::builder(&kvm, &image).memory(2 << 20).observe(recorder.clone());
    let mut vm = builder.limit(Limit::Exits(400)).build().expect("a VM");
    let outcome = vm.run().expect("runs");
    let explanation =
        inspect::explain(&vm, &image, &outcome, &[], KvmKind::detect()).expect("explained");
    let mut report = Report::new("prints", &vm, &image, &outcome, &explanation);
    report.recorder = Some(&recorder);
    let html = visited(&report.page());
    let body = html.select(&Selector::parse("body").expect("a selector")).next().expect("a body");
    let seen = |name: &str| -> (u64, Vec<String>) {
        let text = body.attr(&format!("data-{name}")).expect("the visitor was there");
        let mut parts = text.split(';');
        let boxes = parts.next().and_then(|it| it.parse().ok()).expect("a number");
        (boxes, parts.map(str::to_owned).collect())
    };
    let before = seen("before");
    assert!((400..=410).contains(&before.0), "{before:?}");
    let zoomed = seen("in");
    assert!(zoomed.0 > 0 && zoomed.0 < before.0, "{zoomed:?}");
    assert!(zoomed.1[0] != before.1[0] && zoomed.1[1] != before.1[1], "{zoomed:?}");
    assert_ne!(seen("earlier").1, zoomed.1);
    assert!(seen("deepest").0 <= 2, "{:?}", seen("deepest"));
    assert_eq!(seen("all").0, before.0);
    let shown = Selector::parse("p.controls[hidden]").expect("a selector");
    assert_eq!(html.select(&shown).count(), 0, "the buttons are there for who has scripts");
}
