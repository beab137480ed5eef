"""The paper's figures for trained runs: numbers apart from pictures, pictures apart from the page.

study      run folders of one data set -> item vectors by space
numbers    pure functions of vectors, rows and interactions
tables     a study -> the tables behind the figures
canvas     colours, style, the way to SVG
charts     tables -> SVG
sections   tables and charts with the words that say what they are
page       sections -> one HTML file
report     the command: all of it, written into a folder
"""
