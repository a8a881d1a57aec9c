"""The demo: what an interrupted one has made is kept."""

from __future__ import annotations

from udh_core.demo.options import DemoOptions
from udh_core.demo.run import run_demo
from udh_core.models.checkpoint import read_info, resume_path
from udh_core.training.run_log import open_log


def test_a_demo_goes_on_where_it_was_interrupted(models, person, tmp_path):
    video, speech = person / "person.mp4", person / "speech.wav"
    options = DemoOptions(tmp_path, video, speech, minutes=0.2, crop_px=96, encoder="mel80")
    run = run_demo(options, models=models)
    while not next(run).stage.startswith("train generator: warp"):
        pass
    next(run)
    run.close()
    syncnet = (tmp_path / "syncnet.safetensors").read_bytes()
    done = read_info(resume_path(tmp_path / "generator.safetensors")).step
    assert done >= 2
    result = run_demo(options, models=models).run()
    assert result.video.is_file()
    assert (tmp_path / "syncnet.safetensors").read_bytes() == syncnet
    steps = [r.step for r in open_log(tmp_path / "generator.safetensors").reports if r.stage == "warp"]
    assert steps == list(range(1, steps[-1] + 1)) and steps[-1] > done
