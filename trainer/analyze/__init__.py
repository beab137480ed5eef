"""The paper's figures for trained runs: numbers apart from pictures, pictures apart from the page.

runs       run folders of one data set -> item vectors by space
numbers    pure functions of vectors, rows and interactions
figure_data  the opened runs -> the tables behind the figures
canvas     colours, style, the way to SVG
charts     tables -> SVG
sections   tables and charts with the words that say what they are
page       sections -> one HTML file
report     the command: writes all of it into a folder
"""
