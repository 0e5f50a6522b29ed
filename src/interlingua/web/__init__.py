"""The files of the page that the service shows at ``/``: HTML, CSS and ES modules as the browser reads them.

Not here: any Python (serve.page hands them out), anything that has to be built or comes from elsewhere.
"""
