"""How a study is drawn: figures for a paper, and what they share with the page, such as colors, axes and letters."""
