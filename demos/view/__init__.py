"""The viewer in the browser: film, person, object and robot on one time line."""
