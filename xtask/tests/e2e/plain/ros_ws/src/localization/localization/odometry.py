def moved(distance, turn):
    half = turn / 2
    return distance, half
