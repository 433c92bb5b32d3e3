"""What the pages of a board do in a browser."""

from tests.browser import in_browser


def test_sorting_and_filtering_in_a_browser(board, tmp_path):
    script = """
    const table = document.querySelector(".board"), heads = [...table.tHead.rows[0].cells];
    const rows = () => [...table.tBodies[0].rows].filter(row => !row.hidden);
    const names = () => rows().map(row => row.cells[0].textContent.trim());
    const found = {first: names()};
    const rate = heads.findIndex(h => h.textContent.startsWith("WER %"));
    heads[rate].click(); found.down = names(); heads[rate].click(); found.up = names();
    heads[0].click(); found.byName = names();
    const gap = heads.findIndex(h => h.textContent.startsWith("Δ"));
    heads[gap].click(); found.byGap = names(); heads[gap].click(); found.byGapDown = names();
    const field = document.querySelector("input[type=search]");
    field.value = "1TO1"; field.dispatchEvent(new Event("input")); found.filtered = names();
    found.count = document.querySelector(".count").textContent;
    found.cells = rows().map(row => row.cells.length); found.heads = heads.length;
    found.wide = document.documentElement.scrollWidth <= window.innerWidth;
    return found;
    """
    found = in_browser(board, script, tmp_path / "profile")
    assert found["up"] == found["first"] and found["down"] == found["first"][::-1]
    plain = [name for name in found["byName"] if "<" not in name]
    assert found["first"][0] == "teacher" and plain == sorted(plain) and len(plain) == 4
    assert found["byGap"] == [*found["first"][1:], "teacher"], "no difference comes last"
    assert found["byGapDown"][-1] == "teacher"
    assert sorted(found["filtered"]) == ["1to1-blockbeg", "1to1-kl"]
    assert found["count"] == "2 of 5" and found["wide"]
    assert set(found["cells"]) == {found["heads"]}


def test_a_phone_scrolls_the_table_and_not_the_page(board, tmp_path):
    script = "return {wide: document.documentElement.scrollWidth, window: window.innerWidth};"
    for page in (board, board.parent / "systems/teacher.html"):
        found = in_browser(page, script, tmp_path / "profile", width=400)
        assert found["wide"] <= found["window"] <= 500


def test_players_play_in_a_browser(board, tmp_path):
    script = """
    const audio = document.querySelector("audio");
    audio.muted = true;
    await new Promise(done => { if (audio.readyState >= 1) done(); else audio.onloadedmetadata = done; });
    await audio.play();
    const without = [...document.querySelectorAll("audio")].filter(a => !a.currentSrc).length;
    return {seconds: audio.duration, paused: audio.paused, error: audio.error, without};
    """
    found = in_browser(board.parent / "systems/teacher.html", script, tmp_path / "profile")
    assert 0.9 < found["seconds"] < 1.2 and found["error"] is None and not found["paused"]
    assert found["without"] == 0
