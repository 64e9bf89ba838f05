def title(name):
    return 'Weather: ' + name
