"""What people read: self-contained static HTML pages with inline SVG, whole in a dashboard, in a mail and on paper."""
