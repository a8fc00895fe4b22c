NAME="pyaio"
def cases(place):
    return []
