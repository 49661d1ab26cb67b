"""The public side: static pages of a case, and the register of many operators' cases.

`pages` says what was signed in words and pictures, from statements alone; `folder` puts files where anybody's
web server, or a USB stick, serves them; `register` looks at many operators' logs. Nothing is loaded from
elsewhere and nothing runs, but for `verify.html`.
"""
