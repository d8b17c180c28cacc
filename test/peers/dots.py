#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""dots.py SVG: the dots of a picture of test/bench/chart, each with its label and its place, from 0 to 1 between the first and
the last."""
import sys
import xml.etree.ElementTree as tree

root = tree.parse(sys.argv[1]).getroot()
labels = [t.text for t in root.iter("{http://www.w3.org/2000/svg}text") if t.get("text-anchor") == "end"]
places = [float(c.get("cx")) for c in root.iter("{http://www.w3.org/2000/svg}circle")]
assert len(labels) == len(places), (labels, places)
for label, place in zip(labels, places):
    print(label, f"{(place - min(places)) / (max(places) - min(places)):.2f}")
