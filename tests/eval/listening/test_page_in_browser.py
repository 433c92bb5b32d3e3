"""The page of a listening test in a browser."""

import json

import pytest

from eval.listening.ratings import analyse
from eval.store.files import InputError
from tests.browser import in_browser
from tests.eval.listening.making import QUIET, make

BEGIN = """
    const by = id => document.getElementById(id);
    const begin = name => {
      by("listener").value = name; by("listener").dispatchEvent(new Event("input")); by("begin").click();
    };
    const seen = () => [...document.querySelectorAll(".question")].find(question => !question.hidden);
    const hear = () => seen().querySelectorAll("audio").forEach(a => a.dispatchEvent(new Event("ended")));
"""


def test_a_listener_goes_through_the_page(results, tmp_path):
    key = make(results, tmp_path / "t", n_items=1)
    script = f"""{BEGIN}
    const found = {{blocked: by("begin").disabled}};
    begin("Ann B.");
    found.deaf = seen().querySelector("button").disabled;
    const clip = seen().querySelector("audio");
    await new Promise(done => {{ if (clip.readyState >= 1) done(); else clip.onloadedmetadata = done; }});
    found.seconds = clip.duration;
    found.order = [];
    while (!by("ask").hidden) {{
      found.order.push(seen().dataset.key);
      hear();
      seen().querySelectorAll("button")[1].click();
      by("next").click();
    }}
    found.end = !by("end").hidden;
    const blob = await new Promise(done => {{
      URL.createObjectURL = content => {{ done(content); return "#"; }};
      by("download").click();
    }});
    found.file = JSON.parse(await blob.text());
    return found;
    """
    found = in_browser(tmp_path / "t/page/index.html", script, tmp_path / "profile")
    assert found["blocked"] and found["deaf"] and found["end"]
    assert found["seconds"] == pytest.approx(1.0, abs=0.01)
    assert found["order"] == found["file"]["order"]
    assert sorted(found["order"]) == sorted(q["key"] for q in key["questions"])
    # What was downloaded is what the analysis reads; rating all alike with a 4 fails the checks.
    (tmp_path / "a").mkdir()
    (tmp_path / "a/ann.json").write_text(json.dumps(found["file"]))
    with pytest.raises(InputError, match="all 1 listeners"):
        analyse(tmp_path / "a", tmp_path / "t/key.json", QUIET)


def test_a_closed_page_goes_on_and_everybody_has_an_order_of_their_own(results, tmp_path):
    make(results, tmp_path / "t", n_items=4)
    page, profile = tmp_path / "t/page/index.html", tmp_path / "profile"
    script = f"""{BEGIN}
    begin("Ann");
    for (const _ of [1, 2]) {{ hear(); seen().querySelector("button").click(); by("next").click(); }}
    return {{at: seen().querySelector(".number").textContent}};
    """
    assert in_browser(page, script, profile)["at"] == "3"
    script = f"""{BEGIN}
    const found = {{name: by("listener").value}};
    begin("Ben"); found.ben = seen().querySelector(".number").textContent;
    return found;
    """
    assert in_browser(page, script, profile) == {"name": "Ann", "ben": "1"}
    script = f"""{BEGIN}
    const found = {{name: by("listener").value}};
    begin("Ann"); found.ann = seen().querySelector(".number").textContent;
    found.kept = JSON.parse(localStorage.getItem("listening-" + test)).listeners;
    return found;
    """
    found = in_browser(page, script, profile)
    assert found["name"] == "Ben" and found["ann"] == "3", "another listener wiped Ann's answers"
    ann, ben = (found["kept"][name]["order"] for name in ("Ann", "Ben"))
    assert sorted(ann) == sorted(ben) and ann != ben
    assert len(found["kept"]["Ann"]["answers"]) == 2 and not found["kept"]["Ben"]["answers"]


def test_a_page_without_its_clips_says_so(results, tmp_path):
    make(results, tmp_path / "t", n_items=1)
    (tmp_path / "t/page/clips").rename(tmp_path / "t/elsewhere")
    script = f"""{BEGIN}
    begin("Ann");
    await new Promise(done => setTimeout(done, 500));
    return {{text: by("trouble").textContent, shown: !by("trouble").hidden}};
    """
    # The browser's own line about a file that is not there is not an error of the page.
    found = in_browser(tmp_path / "t/page/index.html", script, tmp_path / "profile")
    assert found["shown"] and "folder “clips”" in found["text"]
