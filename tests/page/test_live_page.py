from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import pytest
from tests.page import snapshots
from tests.waiting import wait_for

from epochcost.agent.recent_hour import RecentHour
from epochcost.agent.snapshot import CountedProgress, NodeTerms, RunView, Snapshot, StoredRun
from epochcost.guard.decisions import GuardView, Waiting
from epochcost.guard.keeps import Keep
from epochcost.model import GpuOwner, RunId, RunState, State
from epochcost.palette import PALETTE, SHOWN_AS

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\u202e'\"&amp;"


def later(snapshot, seconds: float = 1.0, **changes):
    return replace(snapshot, t=snapshot.t + seconds, **changes)


def run_text(page) -> str:
    return page.text("article.run")


def test_the_reference_run_is_there_with_its_figures(page):
    page.open(snapshots.one_gpu())
    text = run_text(page)
    for figure in (
        "char-lm-20231114 training",
        "$0.0411 for this epoch so far",
        "epoch 3.4 of 25",
        "Last epoch $0.1070 7 min 8 s",
        "Cost so far $0.3800",
        "Projected total $2.700",
        "Time left 2 h 34 min",
        "$0.3800 of the $3.00 budget",
        "useful 78 %",
    ):
        assert figure in text
    assert page.text("#node").startswith("trainer-1 p2.xlarge · on demand aws · us-east-1a")
    assert "$0.90/h source: listed, confirmed 7 years ago" in page.text("#node")
    assert page.text("#waste") == "$0.2600"
    assert page.text("#wasteshare") == "47 % of the cost, without 2 min 10 s before the agent's start"
    assert page.text("#simulated") == ""


def test_a_run_without_parsed_output_is_labelled_so(page):
    run = replace(snapshots.one_gpu().runs[0], epoch=None, epochs_planned=None, steps=0)
    page.open(replace(snapshots.one_gpu(), runs=(run,)))
    assert "no epochs and no steps its output shows no progress" in run_text(page)
    page.snapshot = later(page.snapshot, runs=(replace(run, state=RunState.STARTUP),))
    wait_for(lambda: "its output shows" not in run_text(page), what="a run that has only begun")


@pytest.mark.parametrize("stored", [None, StoredRun(840.0, 211.0, 4, epoch_cost_usd=41.3)], ids=["part", "stored"])
def test_a_run_whose_epochs_are_counted_elsewhere_is_not_labelled_silent(page, stored):
    """Only the machine of rank 0 counts epochs: on the others there are none, and that is not an error."""
    run = replace(
        snapshots.eight_gpus().runs[0], leader=False, epoch=None, steps=None, current_epoch_cost_usd=None,
        current_epoch_seconds=None, last_epoch_cost_usd=None, epoch_seconds_sum=0.0, epoch_count=0,
        epoch_cost_usd_sum=None, history=(), counted=None, stored=stored,
    )  # fmt: skip
    page.open(replace(snapshots.eight_gpus(), runs=(run,)))
    text = run_text(page)
    assert "epochs are counted on another machine rank 0 is there" in text
    assert "first epoch" not in text
    assert "its output" not in text


def test_the_bar_shows_dollars_by_state_with_an_accessible_name(page):
    page.open(snapshots.one_gpu())
    rows = [row.split("\n") for row in page.texts("#moneylegend li")]
    assert [row[0] for row in rows] == ["useful", "idle", "startup", "boot", "vacant"]
    assert rows[0][1:3] == ["$0.2950", "50 %"]
    label = page.run("return document.querySelector('#moneybar').getAttribute('aria-label')")
    assert label.startswith("useful $0.2950, 50 %; idle $0.0625, 11 %")
    widths = page.run("return [...document.querySelectorAll('#moneybar > span')].map((e) => e.offsetWidth)")
    total = page.run("return document.querySelector('#moneybar').offsetWidth")
    assert widths[0] == pytest.approx(total / 2, abs=8)


def test_a_new_snapshot_is_shown_without_a_reload(page):
    page.open(snapshots.one_gpu())
    page.run("window.same = document.querySelector('article.run'); window.loaded = 'once'")
    newer = replace(snapshots.one_gpu().runs[0], current_epoch_cost_usd=0.0899, epoch=3.84)
    page.snapshot = later(page.snapshot, runs=(newer,))
    wait_for(lambda: "$0.0899" in run_text(page), what="the new figure")
    assert "epoch 3.84 of 25" in run_text(page)
    assert page.run("return window.loaded === 'once' && window.same === document.querySelector('article.run')")


def test_runs_come_and_go(page):
    page.open(snapshots.cpu_only())
    assert "No training run has reported yet" in page.text("#norun")
    page.snapshot = later(snapshots.one_gpu())
    wait_for(lambda: page.texts("article.run h3") == ["char-lm-20231114"], what="the run's card")
    assert page.text("#norun") == ""
    page.snapshot = later(snapshots.eight_gpus(), 2)
    wait_for(lambda: len(page.texts("#runs > :not([hidden])")) == 3, what="three cards")
    last = "#runs > details.ended:last-of-type"  # ended runs come last, collapsed
    assert page.text(last).startswith("smoke-test failed $0.00031 · 7 minutes ago")
    assert "for the whole run" not in page.text(last)
    page.run("document.querySelector(arguments[0] + ' > summary').click()", last)
    wait_for(lambda: "for the whole run" in page.text(last), what="the ended run unfolded")
    page.snapshot = later(snapshots.cpu_only(), 3)
    wait_for(lambda: page.texts("article.run") == [], what="no cards")


@pytest.mark.parametrize("field", ["run", "node", "gpu", "problem"])
def test_hostile_text_is_shown_and_never_executed(page, field):
    base = snapshots.one_gpu()
    run = replace(base.runs[0], run=RunId(HOSTILE), experiment=HOSTILE, framework=HOSTILE)
    node = replace(base.node.node, node=HOSTILE, instance_type=HOSTILE, zone=HOSTILE)
    gpu = replace(base.gpus[0], sample=replace(base.gpus[0].sample, model=HOSTILE, index=HOSTILE))
    snapshots_by_part = {
        "run": replace(base, runs=(run,)),
        "node": replace(base, node=replace(base.node, node=node, price_source=HOSTILE)),
        "gpu": replace(base, gpus=(gpu,)),
        "problem": replace(base, problems=(HOSTILE,)),
    }[field]
    page.open(snapshots_by_part)
    assert "<script>" in page.text("main")
    assert page.run("return document.querySelectorAll('main img, main script').length") == 0
    assert page.run("return document.title") != "owned"
    assert page.run("return document.documentElement.scrollWidth <= window.innerWidth")


def test_only_this_server_gets_requests_and_the_browser_logs_no_error(page):
    page.open(snapshots.eight_gpus())
    page.snapshot = later(page.snapshot)
    wait_for(lambda: sum(url.endswith("/v1/live") for url in page.requested()) >= 1, what="a further question")
    page.driver.get(page.server.url)
    wait_for(lambda: page.text("#link") == "live", what="live")
    urls = page.requested()
    assert urls
    assert all(url.startswith((page.server.url, "data:image/svg+xml")) for url in urls), urls
    assert page.complaints() == []


SCENES = {
    "one": snapshots.one_gpu,
    "eight": snapshots.eight_gpus,
    "sixteen": lambda: snapshots.of_its_own(16),
    "slices": snapshots.slices,
    "sweep": snapshots.sweep,
    "empty": snapshots.cpu_only,
    "unpriced": snapshots.price_unknown,
    "unbroken": lambda: snapshots.hostile_snapshot("x" * 200),
    "hostile": lambda: snapshots.hostile_snapshot(
        f"{HOSTILE} \u0639\u0631\u0628\u064a \U0001f680 " + "a-long-name-" * 12
    ),
}
WIDTHS = (320, 390, 768, 1100, 1600)
# The heart of each line of text: glyph boxes are taller than their lines.
CROWDED = """
const lines = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), out = [];
for (let n; (n = walk.nextNode());) {
  const e = n.parentElement;
  if (!n.data.trim() || e.closest("pre, svg, script, style") || !e.getClientRects().length) continue;
  const range = document.createRange(), box = e.closest(".card, .banner, footer, .top").getBoundingClientRect();
  range.selectNodeContents(n);
  for (const r of range.getClientRects()) {
    if (r.left < box.left - 1 || r.right > box.right + 1) out.push(`out of its box: ${n.data}`);
    lines.push([r.left, r.right, r.top + r.height / 4, r.bottom - r.height / 4, n]);
  }
}
for (const [i, a] of lines.entries()) for (const b of lines.slice(i + 1))
  if (a[4] !== b[4] && Math.min(a[1], b[1]) - Math.max(a[0], b[0]) > 1
      && Math.min(a[3], b[3]) - Math.max(a[2], b[2]) > 1)
    out.push(`${a[4].data} over ${b[4].data}`);
return out.slice(0, 5);
"""


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_or_overlaps_at_any_width(page, scene, scheme):
    page.open(SCENES[scene](), WIDTHS[0], scheme)
    for width in WIDTHS:
        page.view(width, scheme)
        wait_for(partial(page.run, "return innerWidth === arguments[0]", width), what=f"{width} px")
        out = page.run(
            "return [...document.querySelectorAll('main *, footer, .top')].filter((e) => !e.closest('pre') && "
            "!e.closest('svg') && e.getBoundingClientRect().right > innerWidth + .5)"
            ".map((e) => e.outerHTML.slice(0, 120))"
        )
        assert page.run("return document.documentElement.scrollWidth") <= width, out
        assert out == []
        assert page.run(CROWDED) == [], width


UNIT = r"\$[\d,.]+(/h)?|unknown|\d+ %|<1 %|[\d.,/]+ (GiB|TiB|s|min|h|d|W|°C|epochs?)( \d+ (s|min|h))?"
FIGURES = (
    ".figure dd.value, .big, .facts dd > span, #gpus .between span:last-child, #moneylegend li > span:nth-child(3), "
)
FIGURES += "#moneylegend .share, .plot .high, .plot .low"


@pytest.mark.parametrize("scene", ["one", "eight", "slices", "empty", "unpriced"])
def test_every_figure_has_its_unit(page, scene):
    page.open(SCENES[scene]())
    text = [figure.replace("\xa0", " ") for figure in page.texts(FIGURES) if figure]
    assert len(text) > 5
    assert [figure for figure in text if not re.fullmatch(UNIT, figure)] == []


def test_many_gpus_use_the_width_of_the_page_and_one_is_beside_its_run(page):
    page.open(snapshots.of_its_own(8), 1600)
    width = "return document.querySelector('#devices').offsetWidth / document.querySelector('main').offsetWidth"
    rows = "return new Set([...document.querySelectorAll('#gpus > li')].map((e) => e.offsetTop)).size"
    assert page.run(width) > 0.99
    assert page.run(rows) == 3
    page.open(snapshots.one_gpu(), 1600)
    assert page.run(width) < 0.5


def test_many_runs_are_side_by_side_where_there_is_room(page):
    lefts = "return new Set([...document.querySelectorAll('#runs > :not([hidden])')].map((e) => e.offsetLeft)).size"
    page.open(snapshots.sweep(), 1600)
    assert page.run(lefts) == 2
    page.open(snapshots.sweep(), 390)
    assert page.run(lefts) == 1


def test_a_gpu_without_utilisation_is_labelled_so_and_stays_aligned(page):
    page.open(snapshots.slices(), 390)
    rows = [row.replace("\n", " ") for row in page.texts("#gpus > li")]
    assert rows[0].startswith("0:0 busy 70 % memory 8.2/9.8 GiB training")
    heights = page.run("return [...document.querySelectorAll('#gpus .index:not(:empty)')].map((e) => e.offsetHeight)")
    assert max(heights) < 30, "an index on two lines"
    assert rows[1].startswith("0:1 busy unknown memory 8.2/9.8 GiB a run is on it")
    assert (
        page.run("return new Set([...document.querySelectorAll('#gpus .memory')].map((e) => e.offsetLeft)).size") == 1
    )


def test_a_right_to_left_name_affects_only_itself(page):
    page.open(snapshots.hostile_snapshot("\u202eturned"))
    places = page.run("""
        const walk = document.createTreeWalker(document.querySelector("article.run p"), NodeFilter.SHOW_TEXT);
        for (let n; (n = walk.nextNode());) {
          const at = n.data.indexOf("started");
          if (at < 0) continue;
          return [at, n.data.length - 1].map((i) => {
            const range = document.createRange();
            range.setStart(n, i); range.setEnd(n, i + 1);
            return range.getBoundingClientRect().left;
          });
        }
    """)
    assert places[0] < places[1]


def test_a_preemption_is_more_prominent_than_other_problems(page):
    page.open(replace(snapshots.one_gpu(), problems=("preemption: taken away at 12:00:00 UTC", "price unknown: x")))
    loud = page.texts("#problems .loud")
    assert loud == ["preemption: taken away at 12:00:00 UTC"]
    assert len(page.texts("#problems .banner")) == 2


def test_the_state_of_a_run_has_its_colour_and_its_name(page):
    page.open(snapshots.sweep())
    text = page.run(
        "return [...document.querySelectorAll('.badge')].filter((e) => e.getClientRects().length).map((e) => "
        "[e.innerText.trim(), getComputedStyle(e.querySelector('.dot')).backgroundColor])"
    )
    assert {word for word, _ in text} == {state.value for state in RunState}
    for word, colour in text:
        expected = PALETTE[SHOWN_AS[RunState(word)]]
        assert colour == f"rgb({', '.join(str(int(expected[i : i + 2], 16)) for i in (1, 3, 5))})", word


def test_an_end_on_another_day_includes_the_day(page):
    run = replace(snapshots.reference_run(), eta_seconds=3 * 86400.0)
    page.open(replace(snapshots.one_gpu(), runs=(run,)))
    assert "until Fri, Nov 17" in run_text(page)


CONTRAST = """
const lin = (c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
const lum = (s) => { const [r, g, b] = s.match(/[\\d.]+/g).map((c) => lin(Number(c)));
  return .2126 * r + .7152 * g + .0722 * b; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)$/.test(c)) return c; } return "rgb(255, 255, 255)"; };
const out = [];
for (const e of document.querySelectorAll("main *, .top *, footer *")) {
  if (!e.offsetParent || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
  const [a, b] = [lum(getComputedStyle(e).color), lum(behind(e))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) out.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.slice(0, 40)}`);
}
return out;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_both_colour_schemes(page, scheme):
    problems = ("price unknown: a sentence", "preemption: a sentence")
    page.open(replace(snapshots.eight_gpus(), problems=problems), 1100, scheme)
    assert page.run(CONTRAST) == []
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(15, 17, 21)") is (scheme == "dark")


def test_a_machine_without_gpu_shows_its_cpu_and_memory_and_what_to_add_for_a_run(page):
    page.open(snapshots.cpu_only())
    devices = page.text("#devices")
    assert devices.startswith("CPU and memory no GPU here CPU 7 % memory 5.3/15.5 GiB")
    assert page.texts("#norun pre .add") == [
        "import epochcost",
        'with epochcost.run(experiment="my-model", epochs=25) as run:',
        "    for epoch in run.epochs():",
    ]
    assert "$0.1567/h" in page.text("#price")


def test_an_unknown_price_is_labelled_and_no_dollars_are_shown(page):
    page.open(snapshots.price_unknown())
    assert page.text("#problems").startswith("price unknown: no price for aws")
    assert page.text("#price") == "unknown"
    assert page.text("#moneyhead") == "Where the time goes"
    assert "2 min 44 s for this epoch so far, price unknown" in run_text(page)
    assert "Time of each epoch" in run_text(page)
    assert "$" not in page.text("main")


def test_eight_gpus_each_with_its_state_and_an_unreadable_one_without_figures(page):
    page.open(snapshots.eight_gpus())
    rows = [row.replace("\n", " ") for row in page.texts("#gpus > li")]
    assert len(rows) == 9
    assert rows[0].startswith("0 busy 94 % memory 71.2/80 GiB training 64 °C")
    assert rows[5].startswith("5 busy 100 % memory 40.2/80 GiB stalled")
    assert rows[7] == "7 cannot be read"
    assert rows[8].startswith("CPU 61 % memory 0.8/2 TiB")
    assert page.text("#devices .heading") == "8 GPUs NVIDIA H100 80GB HBM3"


def test_a_run_projected_over_its_budget_shows_the_excess(page):
    big = replace(snapshots.eight_gpus().runs[0], nodes=1)
    page.open(replace(snapshots.eight_gpus(), runs=(big,)))
    assert "will be over by $42.49" in page.text("main")


def test_a_run_over_several_machines_is_labelled_a_part_without_a_budget_comparison(page):
    page.open(replace(snapshots.eight_gpus(), runs=snapshots.eight_gpus().runs[:1]))
    card = run_text(page)
    assert "this machine's part of 4" in card
    assert "Dollars are this machine's part of 4: set --prometheus.url on the agent for the whole run's." in card
    assert "The budget of $400.00 is the whole run's and is not compared with a part." in card
    assert "of the $400.00 budget" not in card
    assert "over by" not in card
    assert "for this epoch so far on this machine" in card
    assert "Cost of each epoch on this machine" in card


def test_with_a_store_its_dollars_are_those_of_all_machines(page):
    big = replace(
        snapshots.eight_gpus().runs[0], stored=StoredRun(840.0, 211.0, 4, epoch_cost_usd=41.3, cost_to_finish_usd=924.0)
    )
    page.open(replace(snapshots.eight_gpus(), runs=(big,)))
    card = run_text(page)
    assert "4 machines" in card
    assert "Cost so far $840.36" in card
    assert "Mean epoch $41.30" in card
    assert "Projected total $1,764.36" in card
    assert "$840.36 of the $400.00 budget over by $440.36" in card
    assert "the rest is this machine's, which has cost $211.36" in card
    assert "part" not in card


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.FAILED, RunState.PREEMPTED, RunState.LOST])
def test_an_ended_run_shows_its_total_cost(page, state):
    ended_run = replace(snapshots.ended_run(), state=state)
    page.open(snapshots.cpu_only((ended_run,)))
    text = run_text(page)
    assert page.text("details.ended > summary") == f"smoke-test {state.value} $0.00031 · 7 minutes ago"
    assert "$0.00031 for the whole run" in text
    assert "Time left" not in text
    assert "ended 7 minutes ago" in text


def test_a_run_with_only_a_start_event_has_a_card_without_invented_figures(page):
    fresh = RunView(run=RunId("fresh"), state=RunState.STARTUP, started_ts=snapshots.NOW, counted=CountedProgress())
    page.open(snapshots.cpu_only((fresh,)))
    text = run_text(page)
    assert text == "fresh startup started just now 0.0 s in all, price unknown"


def test_the_chart_has_a_bar_for_each_epoch_and_one_for_the_current(page):
    page.open(snapshots.one_gpu())
    titles = page.run("return [...document.querySelectorAll('article.run svg title')].map((e) => e.textContent)")
    assert titles == ["epoch 1: $0.1445", "epoch 2: $0.1134", "epoch 3: $0.1038", "epoch 4: $0.0411 so far"]
    label = page.run("return document.querySelector('article.run svg').getAttribute('aria-label')")
    assert label == "Cost of each epoch: 3 epochs, lowest $0.1038, highest $0.1445, mean $0.1206"


def test_simulated_data_is_labelled_at_the_top(page):
    page.open(replace(snapshots.one_gpu(), simulated=True))
    assert page.text("#simulated") == "Simulated data: no machine of yours is behind these figures"


def test_an_unresponsive_agent_is_labelled_stale_and_live_again_when_it_responds(page):
    page.open(snapshots.one_gpu())
    page.failing = True
    wait_for(lambda: page.text("#link").startswith("no response since"), what="the stale sign")
    assert page.run("return document.body.classList.contains('stale')")
    assert "$0.0411" in run_text(page)
    page.failing = False
    page.snapshot = later(page.snapshot)
    wait_for(lambda: page.text("#link") == "live", 20, what="live again")
    assert not page.run("return document.body.classList.contains('stale')")


def test_before_the_first_sample_the_page_waits(page):
    page.open(None)
    wait_for(lambda: page.text("#link") == "waiting for the agent", what="the waiting sign")
    assert page.text("main").strip() == ""
    page.snapshot = snapshots.one_gpu()
    wait_for(lambda: page.text("#link") == "live", 20, what="live")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (0.00031, "$0.00031"),
        (0.0000004, "$0.00000040"),
        (0.0042, "$0.0042"),
        (0.107, "$0.1070"),
        (0.65325, "$0.6533"),
        (2.675, "$2.675"),
        (16.33125, "$16.33"),
        (12345.678, "$12,345.68"),
    ],
)
def test_dollars_have_enough_digits_for_the_price_of_an_epoch(page, amount, text):
    page.open(snapshots.one_gpu())
    assert page.run("return usd(arguments[0])", amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.25, "0.3 s"), (42, "42 s"), (60, "1 min"), (200, "3 min 20 s"), (33120, "9 h 12 min"), (187200, "2 d 4 h")],
)
def test_time_is_shown_in_two_units_at_most(page, seconds, text):
    page.open(snapshots.one_gpu())
    assert page.run("return span(arguments[0])", seconds) == text


def test_landmarks_headings_and_meters_have_names(page):
    page.open(snapshots.eight_gpus())
    unnamed = page.run(
        "return [...document.querySelectorAll('[role=meter], [role=img], [role=region], section')].filter((e) => "
        "!e.closest('[hidden]') && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby'))"
        ".map((e) => e.outerHTML)"
    )
    assert unnamed == []
    assert page.run("return document.querySelectorAll('h1').length") == 1
    assert page.run("return document.documentElement.lang") == "en"


def test_pending_guard_steps_and_keeps_are_described(page) -> None:
    waiting = Waiting("hung-run", "r-1", "stalled", 0.0, 3.0, 1.0, "checkpoint", seconds=600.0, dry_run=False)
    keep = Keep("file keep.1", 1001, "", snapshots.one_gpu().t + 3600, "user 1001", "<b>debugging</b>")
    page.open(replace(snapshots.one_gpu(), guard=GuardView(waiting=(waiting,), keeps=(keep,), void="no price")))
    assert page.texts("#guard .banner") == [
        "guard: nothing is decided now: no price",
        "guard hung-run: run r-1 is stalled for 10 min; next: checkpoint",
        "guard: user 1001 keeps what is theirs for 60 min more: <b>debugging</b>",
    ]
    assert page.text("#keep") == ""


def busy_hour(snapshot: Snapshot) -> RecentHour:
    """An hour in which utilisation, power and dollars moved."""
    recent = RecentHour()
    for k in range(121):
        t = snapshot.t - 3600 + 30 * k
        share = 0.5 + 0.4 * (k % 20) / 20
        gpus = tuple(
            replace(g, sample=replace(g.sample, utilization_ratio=share), utilization_seconds=share * 30 * k)
            for g in snapshot.gpus
        )
        usd_so_far = snapshots.totals(
            snapshot.node.price_usd_per_hour, useful=30 * k * share, idle=30 * k * (1 - share)
        )
        node = replace(snapshot.node, totals=usd_so_far, power_watts=300 + 200 * share)
        runs = tuple(replace(run, steps=50 * k, samples=3200 * k) for run in snapshot.runs if run.ended_ts is None)
        recent.add(replace(snapshot, t=t, gpus=gpus, node=node, runs=runs))
    return recent


def test_the_last_hour_is_drawn_with_an_accessible_description(page):
    page.recent = busy_hour(snapshots.one_gpu())
    page.open(snapshots.one_gpu())
    assert page.text("#recenthead") == "Last hour"
    assert page.run("return document.querySelectorAll('#hour .spark:not([hidden]) path').length") == 5
    label = page.run("return document.querySelector('#hour svg').getAttribute('aria-label')")
    assert label == "busy in the last 1 h: lowest 50 %, highest 88 %, last 50 %"
    assert "$0.9000/h" in page.text("#hour")
    assert page.run(CROWDED) == []


def test_without_an_hour_there_is_no_empty_picture(page):
    page.open(snapshots.one_gpu())
    assert page.text("#recent") == ""


def test_speed_and_reported_metrics_are_beside_the_dollars_of_a_run(page):
    page.recent = busy_hour(snapshots.one_gpu())
    run = snapshots.reference_run(steps=6000, samples=384_000, reported={"loss": 0.31, "val_accuracy": 0.9123})
    page.open(replace(snapshots.one_gpu(), runs=(run,)))
    assert "Speed 1.667 steps/s 106.7 samples/s" in run_text(page)
    assert page.texts(".reported li") == ["loss\n0.31", "val_accuracy\n0.9123"]


def test_a_tile_never_shows_busy_and_idle_at_once(page):
    for use, word in ((0.48, "training"), (0.0, "a run is on it, waiting")):
        page.open(replace(snapshots.one_gpu(), gpus=(snapshots.gpu(0, State.IDLE, use, 4.0, 12.0),)))
        assert word in page.text("#gpus > li")
        assert "idle" not in page.text("#gpus > li")


def test_a_machine_that_was_up_before_the_agent_is_not_labelled_wasteful(page):
    young = replace(
        snapshots.one_gpu().node, totals=snapshots.totals(0.9, boot=1440, vacant=24), boot_ts=snapshots.NOW - 1464
    )
    page.open(replace(snapshots.one_gpu(), node=young, runs=()))
    assert page.text("#wasteshare") == "too early for a share, without 24 min before the agent's start"
    assert "98" not in page.text("#node")


def test_owners_processes_and_advice_are_described(page):
    owner = GpuOwner("GPU-0000-0", "user", "ada", 1.0, user="ada")
    spot = replace(snapshots.one_gpu().node, terms=NodeTerms(spot_usd_per_hour=0.3))
    one = replace(snapshots.one_gpu(), owners=(owner,), processes={"GPU-0000-0": ((4711, 3 * 2**30),)}, node=spot)
    page.open(one)
    assert page.text("#gpus .whose") == "ada · process 4711 (3.0 GiB)"
    assert page.text("#advice").startswith("Spot machines of this type cost $0.30/h here: $0.60/h less")
    assert page.text("#spot") == "spot here: $0.30/h"


def test_links_lead_to_grafana_and_to_the_other_machines_where_it_is_configured(page):
    run = replace(snapshots.reference_run(), run=RunId('q"&<x'), stored=StoredRun(1.0, 0.5, 2, others=("b-1234",)))
    several = replace(snapshots.one_gpu(), runs=(run,), machine="trainer-1-aaaa")
    page.open(several)
    assert page.text("#nodelinks") == ""
    assert page.texts("article.run .links") == ["also on b-1234"]
    page.grafana = "https://grafana.example/sub"
    page.open(several)
    links = page.run("return [...document.querySelectorAll('.links a')].map((a) => a.href)")
    assert links == [
        "https://grafana.example/sub/d/epochcost-node?var-machine=trainer-1-aaaa",
        "https://grafana.example/sub/d/epochcost-run?var-run=q%22%26%3Cx&var-experiment=char-lm",
        "https://grafana.example/sub/d/epochcost-node?var-machine=b-1234",
    ]
