"""Makes a small French corpus in Common Voice's layout: sentences of a small grammar, spoken by espeak-ng.

python experiments/french_card/make_corpus.py OUT

Needs the command espeak-ng (apt-get install espeak-ng). Speakers are variants of its French voices; no person's speech.
"""

import hashlib
import io
import random
import subprocess
import sys
from pathlib import Path

import soundfile

COLUMNS = (
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
).split()
SPEAKERS = {
    "train": ["fr+m1", "fr+m3", "fr+f2", "fr+f4", "fr-be+m2", "fr-ch+f3"],
    "dev": ["fr+m4", "fr-be+f1"],
    "test": ["fr+m7", "fr-ch+f2"],
}
UTTERANCES = {"train": 90, "dev": 25, "test": 25}  # of each speaker

WHO = ["le boulanger", "la voisine", "l'élève", "l’infirmière", "notre ami", "Jean-Pierre", "ma sœur", "le garçon"]
DOES = ["achète", "cherche", "apporte", "a oublié", "préfère", "n'a pas"]
HOW_MANY = ["deux", "trois", "quatre", "dix-sept", "vingt-deux", "quelques"]
WHAT = ["pommes", "œufs", "clés", "journaux", "gâteaux", "fenêtres"]
WHEN = ["aujourd'hui", "aujourd’hui", "ce matin", "à midi", "après l'école", "dimanche"]


def sentence(drawn: random.Random) -> str:
    """A sentence with capitals and punctuation, as the prompts of Common Voice have them."""
    who, what = drawn.choice(WHO), f"{drawn.choice(DOES)} {drawn.choice(HOW_MANY)} {drawn.choice(WHAT)}"
    when = drawn.choice(WHEN)
    match drawn.randrange(3):
        case 0:
            return f"{who[0].upper()}{who[1:]} {what} {when}."
        case 1:
            return f"{when[0].upper()}{when[1:]}, {who} {what} !"
        case _:
            return f"Est-ce que {who} {what} ?"


def main(out: Path) -> None:
    """Writes clips/ and the tables of the parts; no sentence occurs twice."""
    drawn = random.Random(0)
    clips = out / "clips"
    clips.mkdir(parents=True)
    spoken: set[str] = set()
    for part, speakers in SPEAKERS.items():
        lines = ["\t".join(COLUMNS)]
        for voice in speakers:
            speaker = hashlib.sha512(voice.encode()).hexdigest()
            for _ in range(UTTERANCES[part]):
                text = sentence(drawn)
                while text in spoken:
                    text = sentence(drawn)
                spoken.add(text)
                name = f"common_voice_fr_{len(spoken):08d}.mp3"
                rate = str(drawn.randrange(140, 180))
                command = ["espeak-ng", "-v", voice, "-s", rate, "-p", str(drawn.randrange(35, 60)), "--stdout", text]
                # The size in the header of a stream is a placeholder, so the samples are counted here.
                wav = subprocess.run(command, check=True, capture_output=True).stdout
                samples, hertz = soundfile.read(io.BytesIO(wav), dtype="float32")
                soundfile.write(clips / name, samples, hertz, format="MP3")
                values = [speaker, name, hashlib.sha256(text.encode()).hexdigest(), text, "", "2", "0", "", "", "", "",
                          "fr", ""]  # fmt: skip
                lines.append("\t".join(values))
        (out / f"{part}.tsv").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
