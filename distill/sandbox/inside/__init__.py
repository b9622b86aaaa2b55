"""What runs inside the box: standard library only, Python 3.8 and later, and nothing of the rest of this
package.

These files are handed to the box as text and imported there as `inside.<name>`; they import each other
relatively.
"""
