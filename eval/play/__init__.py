"""`make play`: a local page that speaks a typed sentence with several models side by side.

systems -> speaking -> hearing know nothing of the page; show makes HTML of what they say; page is the only file
that imports gradio.
"""
