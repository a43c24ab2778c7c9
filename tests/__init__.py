"""Tests of Klaxon; the folders mirror the rooms."""
